import Adapters
import Autodiff
import Files
import Networks
import Text
import Training
import Weights

/// A recipe with everything it names opened and checked: what a run needs before its first step.
public struct RunPlan: Sendable {
  /// What was asked for.
  public let recipe: Recipe
  /// The base with its adapter grafted.
  public var model: LoadedModel
  /// What was grafted where.
  public let report: GraftReport
  /// How the adapter is described on disk.
  public let configuration: PEFTConfiguration
  /// What was measured of the layers before the adapters started.
  let calibration: RunCalibration
  /// What is trained on and what is held out.
  public let data: RunData
  /// The classes told apart, where the model is a classifier.
  let classes: RunClasses
  /// The loop's settings.
  public let settings: TrainingSettings
  /// What training makes small.
  let objective: Objective
  /// The digest of the teacher, where the recipe names one.
  private let teacherDigest: String?
  /// The digest of the base as it lies on disk.
  public let baseDigest: String
  /// The numbers of all weights of the base.
  public let weightCount: Int

  /// Opens what `recipe` names.
  ///
  /// - Parameters:
  ///   - scratch: where a model that starts from nothing is made; the run's own folder unless given.
  ///   - isKept: whether the caller keeps what is learned, so that the recipe need not say where a whole model goes.
  /// - Throws: a ``RecipeError`` for what the recipe asks in vain, a ``FileError`` for what a file gets wrong.
  public init(_ recipe: Recipe, scratch: String? = nil, isKept: Bool = false) throws {
    try Self.check(recipe, isKept: isKept)
    let path =
      try recipe.model.initial.map {
        try InitialModel(recipe: recipe, shape: $0).write(to: (scratch ?? recipe.outputDirectory.path) + "/initial")
      } ?? recipe.model.path?.path ?? ""
    var model = try LoadedModel(path, chatTemplate: recipe.model.chatTemplate?.path)
    baseDigest = try Fingerprint.model(model.checkpoint)
    weightCount = model.parameterCount
    var recipe = recipe
    // A default must fit; what was asked for and does not is an error, told where the data are read.
    if recipe.origin(of: "data.max_seq_len") == .default {
      recipe.data.maxSequenceLength = min(recipe.data.maxSequenceLength, model.network.contextLength)
    }
    let random = RandomKey(seed: UInt64(bitPattern: Int64(recipe.seed)))
    classes = try RunClasses(&recipe, &model, random: random["head"])
    self.recipe = recipe
    let teacher = try recipe.objective.teacher.map { try LoadedModel($0.path) }
    // A value: rounding the model below leaves the matrices here as they lie on disk.
    let unrounded = model.network
    var graftPlan = classes.including(head: model.network.headName, in: Self.graftPlan(recipe.adapter))
    if let packing = try Self.packing(recipe) {
      // Targets that start from what packing loses are packed by their start.
      var skipped = recipe.quantization?.skip ?? []
      if recipe.adapter.initialization == .loftq {
        skipped += try Self.sitesToRound(model, graftPlan, recipe)
        graftPlan.settings.start = "loftq:\(packing.name)"
      }
      do { try model.pack(as: packing, except: skipped) } catch let error as FileError {
        let isAsked = recipe.origin(of: "quantization.group_size") != .default
        let key = isAsked ? "quantization.group_size" : "quantization.packing"
        throw RecipeError(
          [recipe.problem(key, error.description, hint: "or name the layer in quantization.skip")], path: recipe.origin)
      }
    }
    if recipe.adapter.from == nil { try Self.checkRanks(recipe, graftPlan, model.network) }
    data = try RunData(recipe, model, classes: classes.names, random: random)
    graftPlan.settings.tasks = data.tasks
    var configuration = PEFTConfiguration(graftPlan, baseModel: recipe.model.path?.raw)
    do {
      if let folder = recipe.adapter.from?.path {
        configuration = try model.attach(folder)
        configuration.baseModel = recipe.model.path?.raw
        if recipe.adapter.type == INT21.method {
          var wanted = configuration.plan
          (wanted.method, wanted.settings.rank) = (INT21.method, graftPlan.settings.rank)
          try Self.checkRanks(recipe, wanted, model.network)
          configuration.plan = try model.network.stack(
            graftPlan.settings, on: configuration.plan, random: random["adapter"])
        }
        let plan = configuration.plan
        calibration = .none
        report = GraftReport(sites: model.adapterSites, matches: [("as in \(folder)", model.adapterSites.count)])
        guard plan.method == recipe.adapter.type else {
          throw GraftError(
            "the adapter in \(folder) is of type '\(plan.method)', the recipe says '\(recipe.adapter.type)'",
            key: "type")
        }
        if plan.method == MHR.method {
          configuration.plan = try model.network.reroute(plan, to: graftPlan.settings, random: random["adapter"])
        }
      } else {
        let measured = try RunCalibration(
          recipe, model, graftPlan, training: data.train, classes: classes.names,
          base: Self.digest(baseDigest, recipe), random: random["calibration"])
        // Each number has a gradient, and the optimiser keeps two more of it.
        report = try model.network.graft(
          configuration.plan, random: random["adapter"], statistics: measured.statistics,
          originals: try Self.originals(recipe, model, unrounded, teacher), atMost: recipe.memoryLimit / 16)
        configuration.plan.settings.channels = report.channels
        calibration = measured.spent
      }
    } catch let error as AdapterOptionError {
      throw RecipeError([recipe.problem("adapter.\(error.key)", error.description)], path: recipe.origin)
    } catch let error as GraftError {
      let hint = error.key == "rank" ? "lower it, or raise train.memory_limit_gb" : nil
      let key = error.key.contains(".") ? error.key : "adapter.\(error.key)"
      throw RecipeError([recipe.problem(key, error.description, hint: hint)], path: recipe.origin)
    }
    try Self.checkForms(recipe, model.network)
    if model.network.routesByTask, let stray = data.also.first(where: { $0.examples.contains { $0.task == nil } }) {
      throw RecipeError(
        [
          recipe.problem(
            "eval.also", "the rows of '\(stray.name)' name no task, and '\(recipe.adapter.type)' routes by task",
            hint: "give rows with the key '\(recipe.data.taskField ?? "")', or remove the entry")
        ], path: recipe.origin)
    }
    self.model = model
    self.configuration = configuration
    settings = try Self.settings(recipe, examples: data.train.count)
    (objective, teacherDigest) = try Self.objective(
      recipe, configuration.plan, model, teacher: teacher, base: unrounded, classes: classes,
      steps: settings.schedule.total)
    // Read after training only; what is wrong with it is better known before.
    if let prompts = recipe.merge?.verify.prompts?.path { _ = try ProbeText.sequences(prompts, for: model) }
  }

  /// Refuses what cannot end well, before anything is loaded.
  static func check(_ recipe: Recipe, isKept: Bool = false) throws {
    var problems: [RecipeError.Problem] = []
    if recipe.data.packing {
      problems.append(
        recipe.problem(
          "data.packing", "'packing: true' is not needed here: examples of a batch are laid end to end without padding",
          hint: "remove the key"))
    }
    if recipe.objective.type == .blocks, recipe.train.earlyStopping != nil {
      problems.append(
        recipe.problem(
          "train.early_stopping",
          "objective blocks ends each round by its steps: stopped early, later blocks would never learn",
          hint: "remove the section; save.keep_best keeps the best evaluation"))
    }
    if recipe.adapter.type == Full.method {
      if !isKept && recipe.merge == nil && recipe.export?.gguf == nil {
        problems.append(
          recipe.problem(
            "adapter.type", "'full' leaves no adapter, and nothing says where the model goes",
            hint: "add merge.output or export.gguf"))
      }
      if recipe.export?.peft != nil || recipe.export?.ggufLora != nil {
        problems.append(
          recipe.problem(
            "adapter.type", "'full' leaves no adapter that could be exported", hint: "use merge.output or export.gguf"))
      }
    }
    problems += foldingProblems(recipe)
    // What is wrong with the settings themselves, grafting tells better.
    if recipe.calibration != nil,
      let wanted = try? RunCalibration.wanted(recipe.adapter.type, graftPlan(recipe.adapter).settings), wanted.isEmpty
    {
      problems.append(
        recipe.problem(
          "calibration",
          "nothing is measured for adapter type '\(recipe.adapter.type)' with init '\(recipe.adapter.initialization.spelling)'",
          hint: "remove the section"))
    }
    for name in recipe.train.roleRates.keys.sorted() where Role(rawValue: name) == nil {
      let roles = Role.allCases.map(\.rawValue).joined(separator: " ")
      problems.append(
        recipe.problem("train.role_rates", "'\(name)' is no role of a parameter", hint: "valid: \(roles)"))
    }
    if !problems.isEmpty { throw RecipeError(problems, path: recipe.origin) }
  }

  /// The packing the recipe's `quantization` section asks for.
  static func packing(_ recipe: Recipe) throws -> Packing? {
    guard let wanted = recipe.quantization else { return nil }
    switch wanted.packing {
    case "int2": return .int2(group: wanted.groupSize)
    case "int4": return .int4(group: wanted.groupSize)
    case "int8": return .int8(group: wanted.groupSize)
    case "nf4": return .nf4(doubleQuantised: wanted.doubleQuant)
    default: return try Packing(parsing: wanted.packing)
    }
  }

  static func graftPlan(_ adapter: Recipe.Adapter) -> GraftPlan {
    var settings = AdapterSettings(rank: adapter.rank, alpha: adapter.alpha ?? 8)
    if let scale = adapter.scale {
      settings.alpha = scale * (adapter.rslora ? Double(adapter.rank).squareRoot() : Double(adapter.rank))
    }
    settings.isRankStabilised = adapter.rslora
    settings.dropout = adapter.dropout
    settings.start = adapter.initialization.spelling
    settings.options = adapter.options.mapValues(\.written)
    (settings.rankPattern, settings.alphaPattern) = (adapter.rankPattern, adapter.alphaPattern)
    let targets: GraftPlan.Targets
    switch adapter.targetModules {
    case .names(let names): targets = .names(names)
    case .regex(let pattern): targets = .pattern(pattern)
    case .allLinear: targets = .allLinear
    }
    let layers: GraftPlan.Layers
    switch adapter.layers {
    case .all: layers = .all
    case .last(let count): layers = .last(count)
    case .indices(let indices): layers = .indices(indices)
    }
    return GraftPlan(
      method: adapter.type, settings: settings, targets: targets, layers: layers,
      bias: GraftPlan.Bias(rawValue: adapter.bias.rawValue) ?? .none, modulesToSave: adapter.modulesToSave)
  }

  /// How `recipe` trains on so many examples.
  static func settings(_ recipe: Recipe, examples: Int) throws -> TrainingSettings {
    let train = recipe.train
    var settings = TrainingSettings()
    (settings.batchSize, settings.accumulation) = (train.batchSize, train.gradientAccumulationSteps)
    settings.learningRate = train.learningRate
    for (name, factor) in train.roleRates { if let role = Role(rawValue: name) { settings.roleRates[role] = factor } }
    settings.maxGradientNorm = train.maxGradNorm
    settings.shuffles = recipe.data.shuffle
    settings.recomputes = train.activationCheckpointing
    if case .skipStep(let count) = train.onNonfinite { settings.skippableSteps = count }
    let perEpoch = TrainingRun.stepsPerEpoch(examples, settings)
    let wanted = (Double(perEpoch) * (train.epochs ?? 1)).rounded(.up)
    guard let total = train.maxSteps ?? Int(exactly: wanted).map({ max(1, $0) }) else {
      throw RecipeError(
        [recipe.problem("train.epochs", "\(wanted) steps are more than can be counted", hint: "give fewer epochs")],
        path: recipe.origin)
    }
    let warmup = train.warmupSteps ?? Int((Double(total) * (train.warmupRatio ?? 0)).rounded(.up))
    settings.schedule = Schedule(
      Schedule.Shape(rawValue: train.schedule.rawValue) ?? .constant, warmup: warmup, total: total)
    return settings
  }

  /// The optimiser the recipe asks for, at its start.
  var optimizer: any Optimizer {
    let train = recipe.train
    switch train.optimizer {
    case .adamw:
      return AdamW(beta1: train.beta1, beta2: train.beta2, epsilon: train.epsilon, weightDecay: train.weightDecay)
    case .sgd: return SGD(momentum: train.momentum, weightDecay: train.weightDecay, isNesterov: train.nesterov)
    }
  }

  /// The run at its first step.
  var start: TrainingRun {
    var run = TrainingRun(
      model.network, optimizer, settings, on: data.train, seed: UInt64(bitPattern: Int64(recipe.seed)))
    run.objective = objective
    return run
  }

  /// What a run prints before its first step.
  ///
  /// - Throws: a ``TrainingError`` when the run would take more memory than it may, a ``RecipeError`` for a place of a
  ///   result that may not be replaced.
  public func headerAndForecast() throws -> [String] {
    try RunResults.checkPlaces(for: recipe, base: model.checkpoint.path)
    if let threads = recipe.train.threads { Parallel.threads = threads }
    let run = start
    let forecast = RunForecast(run, limitGB: recipe.train.memoryLimitGB)
    try forecast.check()
    return RunHeader(self, run).lines + [forecast.line]
  }

  /// Steps between checkpoints: as asked, or a tenth of the run.
  var stepsBetweenSaves: Int { recipe.save.everySteps ?? max(10, settings.schedule.total / 10) }

  /// The digests that a resumed run must find again.
  var hashes: [String: String] {
    var hashes = [
      "base": baseDigest, "data": data.digest, "template": model.template.map { Fingerprint.text($0.source) } ?? "none",
    ]
    hashes["calibration"] = calibration.digest
    hashes["teacher"] = teacherDigest
    return hashes
  }

  /// Whether adapters are stored for another base than the one in memory, which their start has changed.
  var storesAnotherForm: Bool {
    let plan = configuration.plan
    guard let family = Catalogue.linear.first(where: { $0.method == plan.method }) else { return false }
    return family.stored(plan.settings) != (plan.method, plan.settings)
  }

  /// A text that changes whenever the base computes something else.
  private static func digest(_ base: String, _ recipe: Recipe) throws -> String {
    guard let packing = try packing(recipe) else { return base }
    return "\(base) \(packing.name) except \((recipe.quantization?.skip ?? []).joined(separator: ","))"
  }

  /// The layers that LoftQ rounds.
  private static func sitesToRound(_ model: LoadedModel, _ plan: GraftPlan, _ recipe: Recipe) throws -> [String] {
    // Targets that match nothing are told where they are grafted.
    let sites = (try? model.network.linearSites(of: plan)) ?? [], skipped = recipe.quantization?.skip ?? []
    let stranger = sites.first { site in
      site == model.network.headName || skipped.contains { site == $0 || site.hasSuffix("." + $0) }
    }
    guard let stranger else { return sites }
    throw RecipeError(
      [
        recipe.problem(
          "adapter.init", "loftq starts from what packing a layer loses, and '\(stranger)' is not packed",
          hint: "leave it out of the targets, or out of quantization.skip")
      ], path: recipe.origin)
  }

  /// What is written beside each adapter.
  var binding: AdapterBinding {
    AdapterBinding(
      base: recipe.model.path?.raw ?? "initial", digest: baseDigest,
      packing: (try? Self.packing(recipe))??.name, unpacked: recipe.quantization?.skip ?? [],
      template: model.template.map { Fingerprint.text($0.source) },
      labels: (model.network as? any Classifier)?.labels ?? [])
  }
}

extension Recipe {
  /// The bytes a run may take: as asked, or all the machine has.
  var memoryLimit: Int { train.memoryLimitGB.flatMap { Int(exactly: ($0 * 1e9).rounded()) } ?? ProcessMemory.machine }

  /// The file messages point to.
  var origin: String { file.isEmpty ? name : file }

  /// A problem at the line where `key` was given.
  func problem(_ key: String, _ message: String, hint: String? = nil) -> RecipeError.Problem {
    if case .recipe(let line) = origin(of: key) { return .init(line: line, column: 1, message: message, hint: hint) }
    return .init(line: 1, column: 1, message: "\(key): \(message)", hint: hint)
  }
}

extension TextNetwork {
  /// The matrix of every linear layer, by name.
  var linearWeights: [String: FrozenWeight] {
    var copy = self
    var weights: [String: FrozenWeight] = [:]
    copy.forEachLinear { weights[$0] = $1.base.weight }
    return weights
  }
}

extension LoadedModel {
  /// The layers that carry an adapter.
  var adapterSites: [String] {
    var copy = network
    var sites: [String] = []
    copy.forEachLinear { name, layer in if layer.adapter != nil { sites.append(name) } }
    copy.forEachEmbedding { name, table in if table.adapter != nil { sites.append(name) } }
    copy.forEachBlock { name, block in if block.adapter != nil { sites.append(name) } }
    return sites
  }
}

import Files
import Networks

/// A plan as PEFT's `adapter_config.json` writes it.
public struct PEFTConfiguration: Sendable, Equatable {
  /// What the file asks for.
  public var plan: GraftPlan
  /// The base model's name or folder, as the file gives it.
  public var baseModel: String?
  /// What PEFT wraps the model for, when the file does not say: `CAUSAL_LM` or `SEQ_CLS`.
  var task = "CAUSAL_LM"
  /// Keys this package does not interpret, kept for writing back.
  private var rest: [String: JSON]

  /// A configuration for `plan`.
  public init(_ plan: GraftPlan, baseModel: String?) { (self.plan, self.baseModel, rest) = (plan, baseModel, [:]) }

  /// Reads an `adapter_config.json`.
  ///
  /// - Throws: a ``FileError`` naming a key that is missing, malformed, or asks for what this package does not compute;
  ///   ignoring such a key would load a different function.
  public init(json: JSON, path: String) throws {
    guard let object = json.object else { throw FileError(path, "is no JSON object") }
    let reader = Reader(object: object, path: path)
    let type = object["peft_type"]?.string ?? ""
    let isLoRA = type.uppercased() == "LORA", isPoly = type.uppercased() == Self.polyType
    guard isLoRA || isPoly || Catalogue.methods.contains(type.lowercased()) else {
      let known = (Catalogue.methods.map { $0.uppercased() } + [Self.polyType]).joined(separator: ", ")
      throw FileError(path, at: "key 'peft_type'", "\(quoted(type)) is not supported; expected one of \(known)")
    }
    for key in Self.refused where reader.isSet(key) {
      throw FileError(path, at: "key '\(key)'", "is set, but not supported; the adapter would compute something else")
    }
    if let start = object["init_lora_weights"]?.string, Self.startsThatMoveTheBase.contains(where: start.hasPrefix) {
      throw FileError(
        path, at: "key 'init_lora_weights'", "'\(start)' means that these factors belong to a changed base",
        remedy: "save it from PEFT with path_initial_model_for_weight_conversion")
    }
    var settings = isPoly ? try Self.polySettings(reader) : try Self.settings(reader)
    try settings.checkPatterns(path: path)
    let method = try isLoRA ? Self.method(&settings, reader) : isPoly ? MHR.method : type.lowercased()
    guard let targets = try reader.targets("target_modules") else {
      throw FileError(path, at: "key 'target_modules'", "missing; expected names, a regular expression or all-linear")
    }
    guard let bias = GraftPlan.Bias(rawValue: object["bias"]?.string ?? "none") else {
      throw FileError(path, at: "key 'bias'", "expected none, all or lora_only")
    }
    plan = GraftPlan(
      method: method, settings: settings, targets: targets, bias: bias,
      modulesToSave: try reader.names("modules_to_save") ?? [])
    plan.excluded = try reader.targets("exclude_modules")
    if let layers = object["layers_to_transform"], !layers.isNull {
      let list = layers.array ?? [layers]
      guard case let indices = list.compactMap(\.int), indices.count == list.count else {
        throw FileError(path, at: "key 'layers_to_transform'", "expected a number or a list of numbers")
      }
      plan.layers = .indices(indices)
    }
    baseModel = object["base_model_name_or_path"]?.string
    rest = object.filter { !Self.written.contains($0.key) }
  }

  /// Which of the families that PEFT calls LoRA a file asks for.
  private static func method(_ settings: inout AdapterSettings, _ reader: Reader) throws -> String {
    let isDoRA = reader.isSet("use_dora")
    guard reader.isSet("use_qalora") else { return isDoRA ? DoRA.method : LoRA.method }
    guard !isDoRA else {
      throw FileError(reader.path, at: "keys 'use_dora' and 'use_qalora'", "are both set; PEFT takes one of them")
    }
    let group = try reader.int("qalora_group_size") ?? 16
    settings.options = ["group": "\(group)", "pool": QALoRA.Pool.scaled.rawValue]
    return QALoRA.method
  }

  /// Whether PEFT computes the plan's family and has keys for its settings.
  private var isPEFT: Bool {
    switch plan.method {
    case LoRA.method, DoRA.method: true
    case QALoRA.method:
      plan.settings.options["pool"] == QALoRA.Pool.scaled.rawValue && plan.settings.options["group"] != nil
    default: false
    }
  }

  /// What a file of LoRA's keys says, and those of this package's own families.
  private static func settings(_ reader: Reader) throws -> AdapterSettings {
    let object = reader.object, path = reader.path
    var settings = AdapterSettings(rank: try reader.int("r") ?? 8, alpha: try reader.double("lora_alpha") ?? 8)
    settings.isRankStabilised = object["use_rslora"]?.bool ?? false
    settings.dropout = try reader.double("lora_dropout") ?? 0
    settings.hasBias = object["lora_bias"]?.bool ?? false
    for (pattern, value) in object["rank_pattern"]?.object ?? [:] {
      guard let rank = value.int, (1..<1 << 20).contains(rank) else {
        throw FileError(path, at: "key 'rank_pattern'", "\(quoted(pattern)) has no rank from 1 to \(1 << 20 - 1)")
      }
      settings.rankPattern[pattern] = rank
    }
    for (pattern, value) in object["alpha_pattern"]?.object ?? [:] {
      guard let alpha = value.double else {
        throw FileError(path, at: "key 'alpha_pattern'", "\(quoted(pattern)) has no number")
      }
      settings.alphaPattern[pattern] = alpha
    }
    guard settings.rank > 0, settings.rank < 1 << 20, settings.dropout >= 0, settings.dropout < 1 else {
      throw FileError(path, at: "keys 'r' and 'lora_dropout'", "are out of range")
    }
    for alpha in [settings.alpha] + settings.alphaPattern.values where !Float(alpha).isFinite {
      throw FileError(path, at: "keys 'lora_alpha' and 'alpha_pattern'", "\(alpha) is too large to compute with")
    }
    if let own = object["graft"] {
      settings.options = (own["options"]?.object ?? [:]).compactMapValues(\.string)
      settings.tasks = own["tasks"]?.array?.compactMap(\.string) ?? []
      settings.channels = (own["channels"]?.object ?? [:]).mapValues { $0.array?.compactMap(\.int) ?? [] }
    }
    return settings
  }

  /// The file's content.
  public var json: JSON {
    var object = rest.merging(isPoly ? polyKeys : ownKeys) { $1 }
    object["task_type"] = rest["task_type"] ?? .string(task)
    object["inference_mode"] = .bool(true)
    object["base_model_name_or_path"] = baseModel.map(JSON.string) ?? .null
    object["r"] = .integer(plan.settings.rank)
    object["target_modules"] = Self.text(plan.targets)
    object["exclude_modules"] = plan.excluded.map(Self.text) ?? .null
    object["modules_to_save"] = plan.modulesToSave.isEmpty ? .null : .array(plan.modulesToSave.map(JSON.string))
    return .object(object)
  }

  /// LoRA's keys, which this package's own families share.
  private var ownKeys: [String: JSON] {
    let settings = plan.settings
    var object: [String: JSON] = [:]
    // A type PEFT does not know, so that it refuses to load a family as if it were plain LoRA.
    object["peft_type"] = .string(isPEFT ? "LORA" : plan.method.uppercased())
    if !isPEFT {
      object["graft"] = .object([
        "options": .object(settings.options.mapValues(JSON.string)), "tasks": .array(settings.tasks.map(JSON.string)),
        "channels": .object(settings.channels.mapValues { .array($0.map(JSON.integer)) }),
      ])
    }
    object["lora_alpha"] =
      settings.alpha == settings.alpha.rounded() && abs(settings.alpha) < 1e9
      ? .integer(Int(settings.alpha)) : .number(settings.alpha)
    object["lora_dropout"] = .number(settings.dropout)
    object["lora_bias"] = .bool(settings.hasBias)
    object["use_rslora"] = .bool(settings.isRankStabilised)
    object["use_dora"] = .bool(plan.method == DoRA.method)
    if isPEFT, plan.method == QALoRA.method, let group = settings.options["group"].flatMap(Int.init) {
      (object["use_qalora"], object["qalora_group_size"]) = (.bool(true), .integer(group))
    }
    object["rank_pattern"] = .object(settings.rankPattern.mapValues(JSON.integer))
    object["alpha_pattern"] = .object(settings.alphaPattern.mapValues(JSON.number))
    object["bias"] = .string(plan.bias.rawValue)
    object["fan_in_fan_out"] = rest["fan_in_fan_out"] ?? .bool(false)
    object["init_lora_weights"] = .bool(true)
    if case .indices(let indices) = plan.layers { object["layers_to_transform"] = .array(indices.map(JSON.integer)) }
    return object
  }

  /// The same with its layers named one by one where PEFT has no keys for the plan's choice of blocks: it takes
  /// `layers_to_transform` beside a list of names alone, and knows no last so many.
  func naming(_ sites: some Sequence<String>) -> PEFTConfiguration {
    switch (plan.layers, plan.targets) {
    case (.all, _), (.indices, .names): return self
    case (.indices, _), (.last, _):
      var named = self
      (named.plan.targets, named.plan.excluded, named.plan.layers) = (.names(sites.sorted()), nil, .all)
      return named
    }
  }

  private static func text(_ targets: GraftPlan.Targets) -> JSON {
    switch targets {
    case .names(let names): .array(names.map(JSON.string))
    case .pattern(let pattern): .string(pattern)
    case .allLinear: .string("all-linear")
    }
  }

  /// Keys that change what an adapter computes and are not supported.
  private static let refused = [
    "alora_invocation_tokens", "arrow_config", "layer_replication", "target_parameters", "trainable_token_indices",
    "use_bdlora", "velora_config", "kasa_config", "monteclora_config", "layers_pattern",
  ]
  private static let startsThatMoveTheBase = ["pissa", "olora", "corda", "lora_ga"]
  private static let written: Set<String> = [
    "peft_type", "inference_mode", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "lora_bias",
    "use_rslora", "use_dora", "use_qalora", "qalora_group_size", "rank_pattern", "alpha_pattern", "target_modules",
    "exclude_modules", "bias", "modules_to_save",
    "init_lora_weights", "layers_to_transform", "graft", "poly_type", "n_tasks", "n_skills", "n_splits",
    "init_weights",
  ]

  /// The keys of a file, each read as what it must be.
  struct Reader {
    let object: [String: JSON]
    let path: String

    func isSet(_ key: String) -> Bool {
      guard let value = object[key] else { return false }
      return !value.isNull && value != .bool(false) && value != .object([:]) && value != .array([])
    }

    func int(_ key: String) throws -> Int? {
      guard let value = object[key] else { return nil }
      guard let number = value.int else {
        throw FileError(path, at: "key '\(key)'", "\(quoted(value.text())) is no whole number")
      }
      return number
    }

    func double(_ key: String) throws -> Double? {
      guard let value = object[key] else { return nil }
      guard let number = value.double else {
        throw FileError(path, at: "key '\(key)'", "\(quoted(value.text())) is no number")
      }
      return number
    }

    func names(_ key: String) throws -> [String]? {
      guard let value = object[key], !value.isNull else { return nil }
      guard let list = value.array, case let names = list.compactMap(\.string), names.count == list.count else {
        throw FileError(path, at: "key '\(key)'", "is no list of names")
      }
      return names
    }

    func targets(_ key: String) throws -> GraftPlan.Targets? {
      if let text = object[key]?.string { return text.lowercased() == "all-linear" ? .allLinear : .pattern(text) }
      return try names(key).map(GraftPlan.Targets.names)
    }
  }
}

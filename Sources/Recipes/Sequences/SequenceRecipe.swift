import Adapters
import Images
import Networks
import Sequences

/// A recipe of a sequence: a network of images, tasks, and the ways of learning them that are compared.
///
///     output_dir: runs/sequence
///     model: Data/trunk                  # a folder of a network of images
///     image_size: 32
///     scenario: task                     # or class, domain
///     strategies: [head, clr, shared, {name: lora, strategy: adapter, adapter: {type: lora, rank: 4}}]
///     tasks:
///       - {name: animals, train: animal-mnist/train, test: animal-mnist/test, parts: 2, per_class: 100}
///     train: {epochs: 5, batch_size: 32, learning_rate: 1e-3}
///       # train's role_rates: {head: 2} multiplies the rate of one role's parameters
///     clr: {variant: reduced, moments: learned}   # or kept: those of the body
///     adapter: {type: lora, rank: 8}     # in place of clr where a strategy shares what learns
///     augment: {rotation: 10, crop_padding: 4, horizontal_flip: true, brightness: 0.2, contrast: 0.2}
///     probe: {strength: 1}               # C of the regression: the less, the more it is held back
///     ewc: {lambda: 100}
///     memory: 200                        # images of a task that replay keeps and ewc measures
///     mos: {alpha: 0.1, orthogonality: 0.1, temperature: 0.8, rounds: 4, covariance: full,
///           alignment_epochs: 30, alignment_rate: 0.005, samples: 5}
///     ear: {stages: 4, width: 2000, false_alarms: 0.05, validation: 0.2, window: 64,
///           held_out: [animal-mnist/test], held_out_limit: 500}
///     keep_features: true                # of stages below the first that learns, in files
///     seed: 42
///
/// `augment` changes training images, each anew in every pass and in this order; what is left out is not done.
/// `rotation` turns by up to so many degrees either way, `crop_padding` pads by so many zeros on every side and cuts a
/// piece of the image's size out at random, `horizontal_flip` turns half of them left to right, `brightness` and
/// `contrast` b multiply by a factor from 1 − b to 1 + b (torchvision's RandomRotation, RandomCrop, RandomHorizontalFlip
/// and ColorJitter). Test images and all that is measured stay as they are. Features of changed images are not kept.
///
/// `classes` names a task's classes; `parts` cuts them, in order, into so many tasks of equal size; `per_class` and
/// `test_per_class` take the first so many images of each.
public struct SequenceRecipe: Sendable {
  /// `clr.moments`.
  private enum Moments: String, CaseIterable { case learned, kept }

  /// One entry of `tasks`.
  public struct Entry: Sendable {
    /// What its tasks are called; a number is added where it makes several.
    public var name = ""
    /// Sets of images, by path or by the name of a known one.
    public var train = "", test = ""
    /// The classes; nil for all.
    public var classes: [String]?
    /// Tasks that the classes are cut into.
    public var parts = 1
    /// The first so many training images of each class, and test images; nil for all.
    public var perClass: Int?, testPerClass: Int?

    /// What its tasks are called.
    var taskNames: [String] { parts == 1 ? [name] : (1...parts).map { "\(name)-\($0)" } }
  }

  /// Where everything is written.
  public var output = ""
  /// The network's folder.
  public var model = ""
  /// The side to which images are resized; nil for the network's own.
  public var imageSize: Int?
  /// What is compared.
  public var methods: [SequenceMethod] = SequenceStrategy.standard.map { SequenceMethod($0) }
  /// What is learned, in order.
  public var entries: [Entry] = []
  /// How.
  public var settings = SequenceSettings()
  /// Sets that no task is cut from, which the gate of ear should stop, and how many images of each it is shown.
  public var heldOut: [String] = [], heldOutLimit = 500

  /// Reads the recipe at `path`.
  ///
  /// - Throws: a ``RecipeError`` with every mistake found, each with its place.
  public init(_ path: String, catalogue: RecipeCatalogue) throws {
    var recipe = SequenceRecipe()
    try PlainRecipe.read(path, catalogue: catalogue) { recipe.read($0, &$1) }
    self = recipe
  }

  private init() {}

  private mutating func read(_ root: RecipeNode, _ context: inout ReadingContext) {
    let required = ["output_dir", "model", "tasks"]
    let known =
      required + [
        "image_size", "keep_features", "scenario", "strategies", "adapter", "train", "augment", "clr", "ewc", "probe",
        "mos", "ear", "memory", "seed",
      ]
    var common: GraftPlan?, listed: RecipeNode?, places: [String: Place] = [:]
    let seen = PlainRecipe.forEach(root, "", known, of: "a sequence", &context) { key, node, context in
      places[key] = node.place
      switch key {
      case "output_dir": output = context.path(node)?.path ?? ""
      case "model": model = context.path(node)?.path ?? ""
      case "image_size": imageSize = Codec.integer(8...4096).read(node, &context)
      case "keep_features": settings.keepsFeatures = Codec.boolean.read(node, &context) ?? true
      case "memory": settings.memory = Codec.integer(1...1_000_000).read(node, &context) ?? settings.memory
      case "seed": settings.seed = UInt64(Codec.integer(0...Int.max).read(node, &context) ?? 0)
      case "scenario": readScenario(node, &context)
      case "strategies": listed = node
      case "adapter": common = Self.adapter(node, &context)
      case "tasks": entries = Self.entries(node, &context)
      case "train": readTraining(node, &context)
      case "augment": settings.augmentation = Self.augmentation(node, &context)
      case "clr":
        PlainRecipe.forEach(node, "clr.", ["variant", "moments"], of: "a sequence", &context) { key, node, context in
          if key == "moments" {
            settings.learnsMoments = Codec<Moments>.choice.read(node, &context) != .kept
            return
          }
          let variant = Codec.text.read(node, &context) ?? settings.variant
          if CLR.Variant(rawValue: variant) == nil {
            context.expected(CLR.Variant.allCases.map(\.rawValue).joined(separator: ", "), node)
          }
          settings.variant = variant
        }
      case "mos": readMOS(node, &context)
      case "ear": readEAR(node, &context)
      case "probe":
        PlainRecipe.forEach(node, "probe.", ["strength"], of: "a sequence", &context) {
          settings.probeStrength = Codec.number("> 0") { $0 > 0 }.read($1, &$2) ?? 1
        }
      default:
        PlainRecipe.forEach(node, "ewc.", ["lambda"], of: "a sequence", &context) {
          settings.fisherWeight = Codec.number("≥ 0") { $0 >= 0 }.read($1, &$2) ?? 0
        }
      }
    }
    if let listed { methods = Self.methods(listed, &context) }
    for method in methods {
      do { try method.check(in: settings.scenario) } catch {
        context.report("\(error)", at: places["scenario"] ?? listed?.place ?? root.place)
      }
    }
    let takers = methods.indices.filter { methods[$0].adapter == nil && methods[$0].takes(common) }
    let reprogrammed = methods.contains { $0.strategy.reprograms && $0.plan == nil }
    for index in takers { methods[index].adapter = common }
    func reads(_ strategies: SequenceStrategy...) -> Bool { methods.contains { strategies.contains($0.strategy) } }
    let trains = methods.contains { $0.strategy != .probe }
    let used = [
      "mos": reads(.mos), "ear": reads(.ear), "probe": reads(.probe), "ewc": reads(.ewc),
      "memory": reads(.ewc, .replay),
      "clr": reprogrammed, "adapter": !takers.isEmpty, "train": trains, "augment": trains,
    ]
    for (key, place) in places.sorted(by: { $0.key < $1.key }) where used[key] == false {
      context.report("'\(key)' is of no use: no strategy of this recipe reads it", at: place, hint: "remove it")
    }
    for key in required where !seen.contains(key) {
      context.report("'\(key)' is missing", at: root.place, hint: "a sequence needs output_dir, model and tasks")
    }
  }

  private mutating func readScenario(_ node: RecipeNode, _ context: inout ReadingContext) {
    guard let text = Codec.text.read(node, &context) else { return }
    guard let scenario = Scenario(rawValue: text) else {
      return context.expected(Scenario.allCases.map(\.rawValue).joined(separator: ", "), node)
    }
    settings.scenario = scenario
  }

  private mutating func readTraining(_ node: RecipeNode, _ context: inout ReadingContext) {
    let known = ["epochs", "batch_size", "learning_rate", "role_rates"]
    PlainRecipe.forEach(node, "train.", known, of: "a sequence", &context) { key, node, context in
      switch key {
      case "epochs": settings.epochs = Codec.integer(1...10_000).read(node, &context) ?? 1
      case "batch_size": settings.batchSize = Codec.integer(2...65_536).read(node, &context) ?? 2
      case "role_rates":
        let rates = Codec.number("> 0") { $0 > 0 }.byName(of: "factors").read(node, &context) ?? [:]
        for (name, rate) in rates {
          guard let role = Role(rawValue: name) else {
            context.report(
              "'\(name)' is no role of a parameter", at: node.place,
              hint: "valid: \(Role.allCases.map(\.rawValue).joined(separator: " "))")
            continue
          }
          settings.roleRates[role] = rate
        }
      default: settings.learningRate = Codec.number("> 0") { $0 > 0 }.read(node, &context) ?? 1e-3
      }
    }
  }
}

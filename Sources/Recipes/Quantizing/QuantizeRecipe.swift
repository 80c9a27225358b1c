import Files
import Foundation
import Quantizing
import Weights

/// A recipe of a quantisation, the file form of ``QuantizeSettings``.
///
///     model: smollm2-float
///     output: smollm2-3bit
///     packing: int3-g64
///     method: awq                # or scale, round, axis and clip each by itself
///     round: gptq
///     calibration: {data: text.jsonl, sequences: 128, length: 256}
///     embedding: q8_0
///     skip: [lm_head]
enum QuantizeRecipe {
  /// The keys that no other kind of recipe has.
  static let ownKeys = [
    "output", "packing", "method", "scale", "round", "axis", "clip", "activation_bits", "skip", "embedding",
    "requantize",
  ]

  /// Whether `path` is meant as a recipe rather than a model.
  static func isRecipe(_ path: String) -> Bool { path.hasSuffix(".yaml") || path.hasSuffix(".yml") }

  /// What the recipe at `path` says.
  ///
  /// - Throws: a ``RecipeError`` with every mistake found, each with its place.
  static func read(_ path: String, catalogue: RecipeCatalogue) throws -> QuantizeSettings {
    var settings = QuantizeSettings()
    try PlainRecipe.read(path, catalogue: catalogue, needs: "it needs model, output and packing") { root, context in
      read(root, &settings, &context)
    }
    return settings
  }

  private static func read(
    _ root: RecipeNode, _ settings: inout QuantizeSettings, _ context: inout ReadingContext
  ) {
    PlainRecipe.forEach(root, "", ownKeys + ["model", "calibration"], of: "a quantisation", &context) {
      key, node, context in
      switch key {
      case "model": settings.model = Codec.model.read(node, &context)?.path
      case "output": settings.output = context.path(node)?.path
      case "packing": settings.packing = packing(node, &context)
      case "embedding": settings.embedding = packing(node, &context)
      case "method": settings.method = Codec.choice.read(node, &context)
      case "scale": settings.scale = Codec.choice.read(node, &context)
      case "round": settings.round = Codec.choice.read(node, &context)
      case "axis": settings.axis = Codec.choice.read(node, &context)
      case "clip": settings.clip = Codec.choice.read(node, &context)
      case "activation_bits": settings.activationBits = Codec.integer(2...16).read(node, &context)
      case "skip": settings.skip = Codec.text.list(of: "names of layers").read(node, &context)
      case "requantize": settings.requantizes = Codec.boolean.read(node, &context)
      default: readCalibration(node, &settings, &context)
      }
    }
  }

  private static func readCalibration(
    _ node: RecipeNode, _ settings: inout QuantizeSettings, _ context: inout ReadingContext
  ) {
    let seen = PlainRecipe.forEach(
      node, "calibration.", ["data", "sequences", "length"], of: "a quantisation", &context
    ) { key, node, context in
      switch key {
      case "data": settings.calibration = context.path(node)?.path
      case "sequences": settings.sequences = Codec.integer(1...1_000_000).read(node, &context)
      default: settings.length = Codec.integer(1...1_000_000).read(node, &context)
      }
    }
    if case .mapping = node.content, !seen.contains("data") {
      context.report("'calibration.data' is missing", at: node.place, hint: "name a text or a .jsonl file")
    }
  }

  private static func packing(_ node: RecipeNode, _ context: inout ReadingContext) -> Packing? {
    guard let text = Codec.text.read(node, &context) else { return nil }
    do { return try Packing(parsing: text) } catch {
      context.report("'\(context.key)': \(error)", at: node.place)
      return nil
    }
  }
}

extension QuantizeSettings {
  /// What is to be done to `source`, a model or a recipe that names one, where `options` say otherwise or more.
  ///
  /// - Throws: a ``RecipeError`` for a recipe with mistakes.
  public init(_ source: String, options: QuantizeSettings, catalogue: RecipeCatalogue) throws {
    var settings = QuantizeSettings()
    if QuantizeRecipe.isRecipe(source) {
      settings = try QuantizeRecipe.read(source, catalogue: catalogue)
    } else {
      settings.model = source
    }
    self = settings.overridden(by: options)
  }
}

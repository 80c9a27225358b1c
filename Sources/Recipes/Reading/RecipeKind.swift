/// What a recipe is of, as its keys tell it.
public enum RecipeKind: Sendable {
  /// A run of training.
  case run
  /// A sequence of image tasks, or of text tasks.
  case imageSequence, textSequence
  /// A quantisation.
  case quantisation

  /// The kind of the recipe at `path`; of a run where nothing says otherwise.
  ///
  /// - Throws: a ``RecipeError`` when it cannot be read or is not YAML.
  public init(of path: String) throws {
    let root: RecipeNode
    do throws(RecipeDocument.Stop) { root = try RecipeDocument.read(try RecipeText.read(path)) } catch {
      throw RecipeError([error.problem], path: path)
    }
    guard case .mapping(let pairs) = root.content else {
      self = .run
      return
    }
    let keys = Set(pairs.map(\.key))
    if keys.contains("tasks") || keys.contains("strategies") {
      self = Self.isOfText(pairs.first { $0.key == "model" }?.value, keys) ? .textSequence : .imageSequence
    } else {
      self = Self.isOfPacking(keys) ? .quantisation : .run
    }
  }

  /// Keys of packing alone, also in capitals or misspelt, and none of those that every run has.
  private static func isOfPacking(_ keys: Set<String>) -> Bool {
    if keys.contains("packing") || keys.contains("method") { return true }
    guard keys.isDisjoint(with: ["output_dir", "adapter", "data", "train"]) else { return false }
    return keys.contains { key in
      QuantizeRecipe.ownKeys.contains(key) || NearestName.of(key, among: ["packing", "method"]) != nil
    }
  }

  /// A network of images is named by its path alone; a model of text has the section of a run.
  private static func isOfText(_ model: RecipeNode?, _ keys: Set<String>) -> Bool {
    switch model?.content {
    case .mapping?: true
    case nil: keys.contains("adapter") || keys.contains("data")
    default: keys.contains("data")
    }
  }
}

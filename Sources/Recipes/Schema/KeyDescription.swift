/// One key a recipe may have, as documentation and suggestions show it.
public struct KeyDescription: Sendable, Equatable {
  /// The whole name, such as `adapter.rank`.
  public let path: String
  /// What may be written, such as `whole number ≥ 1`.
  public let type: String
  /// The default as a recipe would spell it; nil when the key is required or stays unset.
  public let defaultValue: String?
  /// Whether a recipe, or the optional section the key stands in, must give it.
  public let isRequired: Bool
  /// What it does, in one line.
  public let documentation: String
  /// Other names it is known by.
  public let aliases: [String]

  /// The section it stands in, such as `adapter`; empty for the top.
  public var section: String { path.lastIndex(of: ".").map { String(path[..<$0]) } ?? "" }
  /// Its name within the section.
  public var name: String { path.lastIndex(of: ".").map { String(path[path.index(after: $0)...]) } ?? path }
}

/// A part of a recipe that groups keys.
public struct SectionDescription: Sendable, Equatable {
  /// The whole name, such as `model.init`.
  public let path: String
  /// Whether leaving it out means something other than its defaults.
  public let isOptional: Bool
  /// What it is about, in one line.
  public let documentation: String
}

extension Recipe {
  /// Every key of a recipe, in the order of the resolved form.
  public static let keys: [KeyDescription] = Schema.keys.map(\.description)

  /// Every section of a recipe, in the order of the resolved form.
  public static let sections: [SectionDescription] = Schema.sections.map(\.description)
}

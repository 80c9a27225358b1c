import Text

/// What is known while a recipe is read, and the mistakes found so far.
struct ReadingContext {
  /// Mistakes told at once; more do not help anybody.
  static let problemLimit = 50

  let catalogue: RecipeCatalogue
  /// The folder paths in the recipe are relative to.
  let folder: String
  /// The folder paths on the command line are relative to.
  let workingFolder: String
  let environment: @Sendable (String) -> String?

  private(set) var problems: [RecipeError.Problem] = []
  /// The key being read, such as `adapter.rank`.
  var key = ""
  /// What `${output_dir}` stands for, once known.
  var outputDirectory: String?
  /// `quantization.bits` and `.scheme`, the other spelling of `.packing`.
  var bits: (value: Int, place: Place)?
  var scheme: (value: String, place: Place)?

  init(
    catalogue: RecipeCatalogue, folder: String, workingFolder: String,
    environment: @escaping @Sendable (String) -> String?
  ) {
    self.catalogue = catalogue
    self.folder = folder
    self.workingFolder = workingFolder
    self.environment = environment
  }

  var isFull: Bool { problems.count >= Self.problemLimit }

  mutating func report(_ message: String, at place: Place, hint: String? = nil) {
    guard !isFull else { return }
    problems.append(
      .init(line: place.line, column: place.column, message: message, hint: hint, argument: place.argument))
  }

  mutating func report(_ problem: RecipeError.Problem) {
    guard !isFull else { return }
    problems.append(problem)
  }

  /// Tells that the value of the current key is of the wrong kind.
  mutating func expected(_ type: String, _ node: RecipeNode, hint: String? = nil) {
    report("'\(key)' must be \(type); found \(node.found)", at: node.place, hint: hint)
  }

  /// Whether `source` can be matched with names of layers; if not, that is told.
  mutating func checkPattern(_ source: String, allowsPrefix: Bool = false, at place: Place) -> Bool {
    do {
      _ = try NamePattern(source, allowsPrefix: allowsPrefix, path: "'\(key)'")
      return true
    } catch {
      report("\(error)", at: place)
      return false
    }
  }

  /// The place `node` names; nil, and told, when it names none.
  mutating func path(_ node: RecipeNode) -> RecipePath? {
    guard case .scalar(let raw, _) = node.content, !raw.isEmpty, !node.isNull else {
      expected("a path", node)
      return nil
    }
    if raw == "~" || raw.hasPrefix("~/") {
      report(
        "'\(key)' starts with '~', which is not filled in", at: node.place, hint: "write ${env:HOME}\(raw.dropFirst())")
      return nil
    }
    guard let filled = interpolate(raw, at: node.place) else { return nil }
    guard !filled.isEmpty, !filled.utf8.contains(0) else {
      report("'\(key)' is not a path once filled in", at: node.place)
      return nil
    }
    let base = node.place.argument == nil ? folder : workingFolder
    return RecipePath(raw: raw, path: Self.normalized(filled.hasPrefix("/") ? filled : "\(base)/\(filled)"))
  }

  /// `path` without empty and `.` parts, and without `..` where it takes back a folder that is no link.
  static func normalized(_ path: String) -> String {
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      let above = "/" + parts.joined(separator: "/")
      if part == "..", parts.last.map({ $0 != ".." }) ?? false, RecipeText.isPlainFolder(above) {
        parts.removeLast()
      } else {
        parts.append(part)
      }
    }
    return "/" + parts.joined(separator: "/")
  }

  private mutating func interpolate(_ raw: String, at place: Place) -> String? {
    var filled = ""
    var rest = raw[...]
    while let dollar = rest.firstIndex(of: "$") {
      filled += rest[..<dollar]
      rest = rest[dollar...]
      if rest.hasPrefix("$${") {
        filled += "${"
        rest = rest.dropFirst(3)
      } else if rest.hasPrefix("${") {
        guard let end = rest.firstIndex(of: "}") else {
          report("'\(key)' has a '${' without its '}'", at: place)
          return nil
        }
        let name = String(rest[rest.index(dollar, offsetBy: 2)..<end])
        guard let value = value(ofReference: name, at: place) else { return nil }
        filled += value
        rest = rest[rest.index(after: end)...]
      } else {
        filled += "$"
        rest = rest.dropFirst()
      }
    }
    return filled + rest
  }

  private mutating func value(ofReference name: String, at place: Place) -> String? {
    if name == "output_dir" {
      if key == "output_dir" {
        report("'output_dir' cannot be made of itself", at: place)
      } else if let outputDirectory {
        return outputDirectory
      }
      // A missing or wrong output_dir is told once, where it stands.
      return nil
    }
    guard name.hasPrefix("env:") else {
      report(
        "'${\(name)}' in '\(key)' is not known", at: place, hint: "valid: ${env:NAME} ${output_dir}   a literal: $${")
      return nil
    }
    guard let value = environment(String(name.dropFirst(4))) else {
      report(
        "'\(key)' needs the environment variable \(quoted(String(name.dropFirst(4)))), which is not set", at: place)
      return nil
    }
    return value
  }
}

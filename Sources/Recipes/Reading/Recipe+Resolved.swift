extension Recipe {
  /// The recipe with every key, its value, and a comment of where the value came from.
  ///
  /// Reading it gives an equal recipe, wherever it is kept: its paths are absolute.
  ///
  /// - Parameter hashes: what to note of the files used, such as `["model": "sha256:…"]`.
  public func resolvedYAML(toolVersion: String, hashes: [String: String]) -> String {
    var lines = [
      Self.comment("Resolved by graft \(toolVersion): every key, its value, and where the value came from.")
    ]
    for (name, hash) in hashes.sorted(by: { $0.key < $1.key }) { lines.append(Self.comment("\(name): \(hash)")) }
    appendSection("", indent: "", to: &lines)
    return lines.joined(separator: "\n") + "\n"
  }

  private func appendSection(_ path: String, indent: String, to lines: inout [String]) {
    for key in Schema.keys where key.section == path && !key.isSpelling && key.objection(self) == nil {
      if let value = key.write(self) {
        lines.append(Self.line("\(indent)\(key.name): \(value.yaml)", origin(of: key.path).description))
      } else {
        lines.append("\(indent)# \(key.name): not set")
      }
    }
    if path == "adapter" {
      for (name, value) in adapter.options.sorted(by: { $0.key < $1.key }) {
        guard let node = Codec<RecipeValue>.any.write(value) else { continue }
        lines.append(
          Self.line("\(indent)\(RecipeNode.scalar(name)): \(node.yaml)", origin(of: "adapter.\(name)").description))
      }
    }
    for section in Schema.sections where section.parent == path {
      if path.isEmpty { lines.append("") }
      if section.isPresent?(self) ?? true {
        lines.append("\(indent)\(section.name):")
        appendSection(section.path, indent: "\(indent)  ", to: &lines)
      } else {
        lines.append("\(indent)# \(section.name): not set")
      }
    }
  }

  private static func line(_ text: String, _ origin: String) -> String {
    text + String(repeating: " ", count: max(2, 44 - text.count)) + "# \(origin)"
  }

  /// A comment of one line, whatever the text holds.
  private static func comment(_ text: String) -> String {
    "# "
      + String(
        String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
  }
}

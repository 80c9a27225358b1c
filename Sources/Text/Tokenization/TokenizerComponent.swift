import Files

/// One part of a tokenizer's description, with where it stands for messages.
struct TokenizerComponent {
  let json: JSON
  let path: String
  let place: String

  init(_ json: JSON, path: String, place: String) {
    self.json = json
    self.path = path
    self.place = place
  }

  func error(_ problem: String, remedy: String? = nil) -> FileError {
    FileError(path, at: place.isEmpty ? nil : place, problem, remedy: remedy)
  }

  /// The kind of component this is.
  func type() throws -> String {
    guard let type = json["type"]?.string else { throw error("needs a 'type'") }
    return type
  }

  /// The error for a component of a kind that is not supported.
  func unknown(_ type: String) -> FileError {
    error("\(quoted(type)) is not supported", remedy: "use a tokenizer without it")
  }

  /// The component under `key`; nothing when absent or null.
  func child(_ key: String) -> TokenizerComponent? {
    guard let child = json[key], !child.isNull else { return nil }
    return TokenizerComponent(child, path: path, place: self.place(of: key))
  }

  /// The components listed under `key`.
  func children(_ key: String) throws -> [TokenizerComponent] {
    guard let array = json[key]?.array else { throw error("needs a list '\(key)'") }
    return array.enumerated().map { TokenizerComponent($1, path: path, place: "\(place(of: key))[\($0)]") }
  }

  private func place(of key: String) -> String { place.isEmpty ? key : "\(place).\(key)" }

  func string(_ key: String) throws -> String {
    guard let value = json[key]?.string else { throw error("needs a string '\(key)'") }
    return value
  }

  /// The string under `key`; nothing when absent or null.
  func optionalString(_ key: String) throws -> String? {
    guard let value = json[key], !value.isNull else { return nil }
    guard let string = value.string else { throw error("'\(key)' must be a string") }
    return string
  }

  func bool(_ key: String, default fallback: Bool) throws -> Bool {
    guard let value = json[key], !value.isNull else { return fallback }
    guard let bool = value.bool else { throw error("'\(key)' must be true or false") }
    return bool
  }

  /// A whole number from 0 to `limit`.
  func count(_ key: String, default fallback: Int? = nil, limit: Int = 1 << 22) throws -> Int {
    if json[key] == nil, let fallback { return fallback }
    guard let value = json[key]?.int, (0...limit).contains(value) else {
      throw error("'\(key)' must be a whole number from 0 to \(limit)")
    }
    return value
  }
}

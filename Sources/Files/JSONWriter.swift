extension JSON {
  /// The value as JSON text, the same for equal values: keys sorted by their bytes, numbers as short as they can be
  /// while reading back unchanged.
  ///
  /// `pretty` indents by two spaces. Numbers JSON cannot write, NaN and the infinities, become `null`.
  public func text(pretty: Bool = false) -> String {
    var writer = JSONWriter(pretty: pretty)
    writer.write(self)
    return String(decoding: writer.output, as: UTF8.self)
  }
}

private struct JSONWriter {
  let pretty: Bool
  var output: [UInt8] = []
  private var indentation = 0

  init(pretty: Bool) {
    self.pretty = pretty
  }

  mutating func write(_ value: JSON) {
    switch value {
    case .null: append("null")
    case .bool(let value): append(value ? "true" : "false")
    case .integer(let value): append(value.description)
    case .number(let value): append(value.isFinite ? value.description : "null")
    case .string(let value): write(value)
    case .array(let elements):
      enclosed("[", "]", elements) { writer, element in writer.write(element) }
    case .object, .members:
      let members = (value.members ?? []).sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      enclosed("{", "}", members) { writer, member in
        writer.write(member.key)
        writer.append(writer.pretty ? ": " : ":")
        writer.write(member.value)
      }
    }
  }

  private mutating func append(_ text: String) {
    output.append(contentsOf: text.utf8)
  }

  private mutating func enclosed<T>(
    _ open: String, _ close: String, _ items: [T], _ body: (inout JSONWriter, T) -> Void
  ) {
    append(open)
    indentation += 1
    for (index, item) in items.enumerated() {
      if index > 0 { append(",") }
      newLine()
      body(&self, item)
    }
    indentation -= 1
    if !items.isEmpty { newLine() }
    append(close)
  }

  private mutating func newLine() {
    guard pretty else { return }
    output.append(0x0a)
    output.append(contentsOf: repeatElement(0x20, count: 2 * indentation))
  }

  private mutating func write(_ text: String) {
    let hexadecimal = Array("0123456789abcdef".utf8)
    output.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""): append("\\\"")
      case UInt8(ascii: "\\"): append("\\\\")
      case 0x0a: append("\\n")
      case 0x0d: append("\\r")
      case 0x09: append("\\t")
      case 0..<0x20, 0x7f:
        append("\\u00")
        output.append(hexadecimal[Int(byte >> 4)])
        output.append(hexadecimal[Int(byte & 15)])
      default: output.append(byte)
      }
    }
    output.append(UInt8(ascii: "\""))
  }
}

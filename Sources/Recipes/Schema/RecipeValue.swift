/// A value whose meaning only an adapter family knows, typed by how it was written.
public indirect enum RecipeValue: Sendable, Equatable {
  /// `true` or `false`.
  case boolean(Bool)
  /// A whole number.
  case integer(Int)
  /// A number with a point or an exponent.
  case number(Double)
  /// Anything else written as a scalar.
  case text(String)
  /// `[…]`.
  case list([RecipeValue])
  /// `{…}`.
  case map([String: RecipeValue])

  /// As a person would write it: lists with commas.
  public var written: String {
    switch self {
    case .boolean(let value): "\(value)"
    case .integer(let value): "\(value)"
    case .number(let value): "\(value)"
    case .text(let value): value
    case .list(let values): values.map(\.written).joined(separator: ",")
    case .map(let values):
      values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.written)" }.joined(separator: ",")
    }
  }

  /// The truth value, if it is one.
  public var boolean: Bool? {
    if case .boolean(let value) = self { value } else { nil }
  }

  /// The whole number, if it is one.
  public var integer: Int? {
    if case .integer(let value) = self { value } else { nil }
  }

  /// The number; whole numbers count.
  public var number: Double? {
    switch self {
    case .number(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }

  /// The text, if it is text.
  public var text: String? {
    if case .text(let value) = self { value } else { nil }
  }

  /// The list, if it is one.
  public var list: [RecipeValue]? {
    if case .list(let value) = self { value } else { nil }
  }
}

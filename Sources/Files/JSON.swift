/// A JSON value.
public enum JSON: Sendable, Equatable {
  case null
  case bool(Bool)
  /// A number written without point or exponent that fits 64 bits.
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  /// An object some of whose keys differ as bytes yet are equal to Swift, such as `Å` written as U+00C5 and as U+212B.
  ///
  /// Vocabularies of tokenizers hold such keys, and a dictionary would merge them. Read either kind of object through
  /// ``members``.
  case members([Member])

  /// One key of an object with its value.
  public struct Member: Sendable, Equatable {
    /// The key, with its bytes as the text has them.
    public var key: String

    /// What the key stands for.
    public var value: JSON

    /// A key with its value.
    public init(key: String, value: JSON) {
      self.key = key
      self.value = value
    }
  }

  /// Parses one JSON text, which must be all of `bytes`.
  ///
  /// - Throws: `FileError` at a line and column for whatever RFC 8259 does not allow, and for what it leaves open:
  ///   a key given twice, half a surrogate pair, bytes that are not UTF-8, a number beyond `Double`, and values nested
  ///   deeper than `depthLimit`.
  public init(parsing bytes: UnsafeRawBufferPointer, path: String, depthLimit: Int = 128) throws {
    var parser = JSONParser(bytes, path: path, depthLimit: depthLimit)
    self = try parser.document()
  }

  /// Parses one JSON text.
  public init(parsing text: String, path: String = "<text>") throws {
    var text = text
    self = try text.withUTF8 { try JSON(parsing: UnsafeRawBufferPointer($0), path: path) }
  }

  /// Reads a whole file; a UTF-8 byte order mark in front is passed over.
  public static func read(_ path: String) throws -> JSON {
    let file = try MappedFile(path)
    let hasMark = file.bytes.starts(with: [0xef, 0xbb, 0xbf])
    let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[(hasMark ? 3 : 0)...])
    return try withExtendedLifetime(file) { try JSON(parsing: bytes, path: path) }
  }

  /// The value under `key`; nothing when absent or when this is not an object.
  public subscript(_ key: String) -> JSON? {
    switch self {
    case .object(let object): object[key]
    case .members(let members): members.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
    default: nil
    }
  }

  /// The value of a string; nothing for any other kind.
  public var string: String? {
    if case .string(let value) = self { value } else { nil }
  }

  /// The value of a number written without point or exponent; nothing for any other kind.
  public var int: Int? {
    if case .integer(let value) = self { value } else { nil }
  }

  /// The value of a number, with or without a fraction.
  public var double: Double? {
    switch self {
    case .number(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }

  /// The value of `true` or `false`; nothing for any other kind.
  public var bool: Bool? {
    if case .bool(let value) = self { value } else { nil }
  }

  /// The elements of an array; nothing for any other kind.
  public var array: [JSON]? {
    if case .array(let value) = self { value } else { nil }
  }

  /// The object as a dictionary; nothing when two of its keys are equal to Swift (see ``members``).
  public var object: [String: JSON]? {
    if case .object(let value) = self { value } else { nil }
  }

  /// The keys and values of an object of either kind, in no particular order.
  public var members: [Member]? {
    switch self {
    case .object(let object): object.map { Member(key: $0.key, value: $0.value) }
    case .members(let members): members
    default: nil
    }
  }

  /// Whether this is `null`.
  public var isNull: Bool { self == .null }
}

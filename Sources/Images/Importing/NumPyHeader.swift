import Files

/// What stands before the numbers of a NumPy file: versions 1, 2 and 3.
///
/// Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. The header is a Python dictionary,
/// of which exactly the three keys of the format are understood, and nothing is evaluated.
struct NumPyHeader {
  static let magic: [UInt8] = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]

  private(set) var shape: [Int] = []
  private(set) var type = NumberType.byte

  /// Reads the header; the stream is then at the first number.
  ///
  /// - Throws: a ``FileError`` for arrays in Fortran's order and for objects, which are Python's own.
  init(_ stream: ByteStream) throws {
    let path = stream.path
    guard try stream.read(6, "the header") == Self.magic else { throw FileError(path, "is no NumPy file") }
    let version = try stream.read(2, "the header")[0]
    guard (1...3).contains(version) else { throw FileError(path, "is a NumPy file of version \(version), not 1 to 3") }
    let length = try stream.read(version == 1 ? 2 : 4, "the header").reversed().reduce(0) { $0 << 8 | Int($1) }
    guard length <= 1 << 16 else { throw FileError(path, "has a header of \(length) bytes; at most 65536 are read") }
    let bytes = try stream.read(length, "the header")
    guard let text = String(validating: bytes, as: UTF8.self) else { throw FileError(path, "has a damaged header") }
    var scanner = Scanner(text)
    guard let (shape, description, isFortran) = scanner.header() else {
      throw FileError(
        path, "has a header that is no array of plain numbers: \(quoted(text))", remedy: "save it with numpy.save")
    }
    guard !isFortran else {
      throw FileError(path, "is in Fortran's order", remedy: "save numpy.ascontiguousarray of it")
    }
    guard let type = Self.type(description) else {
      throw FileError(
        path, "holds numbers of type \(quoted(description)); expected bool, u1 to u8, i1 to i8, f2, f4 or f8")
    }
    (self.shape, self.type) = (shape, type)
  }

  private static func type(_ text: String) -> NumberType? {
    guard let order = text.first, text.count == 3, let size = text.last?.wholeNumberValue else { return nil }
    guard order == "<" || order == ">" || (order == "|" && size == 1) else { return nil }
    let kinds: [Character: (NumberType.Kind, [Int])] = [
      "u": (.unsigned, [1, 2, 4, 8]), "i": (.signed, [1, 2, 4, 8]), "f": (.float, [2, 4, 8]), "b": (.unsigned, [1]),
    ]
    guard let (kind, sizes) = kinds[text[text.index(after: text.startIndex)]], sizes.contains(size) else { return nil }
    return NumberType(kind: kind, size: size, isBigEndian: order == ">")
  }

  /// Reads `{'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 28), }`, its keys in any order.
  private struct Scanner {
    private var rest: Substring.UTF8View

    init(_ text: String) { rest = Substring(text).utf8 }

    mutating func header() -> (shape: [Int], description: String, isFortran: Bool)? {
      var shape: [Int]?, description: String?, isFortran: Bool?
      guard take("{") else { return nil }
      while !take("}") {
        guard let key = word(), take(":") else { return nil }
        switch key {
        case "descr" where description == nil: description = word()
        case "fortran_order" where isFortran == nil:
          isFortran = take("False") ? false : take("True") ? true : nil
          if isFortran == nil { return nil }
        case "shape" where shape == nil: shape = sizes()
        default: return nil
        }
        if !take(",") {
          guard take("}") else { return nil }
          break
        }
      }
      skipSpace()
      guard rest.isEmpty, let shape, let description, let isFortran else { return nil }
      return (shape, description, isFortran)
    }

    private mutating func skipSpace() {
      while let byte = rest.first, byte == 0x20 || byte == 0x0a { rest = rest.dropFirst() }
    }

    private mutating func take(_ text: String) -> Bool {
      skipSpace()
      guard rest.starts(with: text.utf8) else { return false }
      rest = rest.dropFirst(text.utf8.count)
      return true
    }

    private mutating func word() -> String? {
      for mark in ["'", "\""] where take(mark) {
        guard let end = rest.firstIndex(of: mark.utf8.first ?? 0) else { return nil }
        let word = String(Substring(rest[..<end]))
        rest = rest[end...].dropFirst()
        return word
      }
      return nil
    }

    private mutating func sizes() -> [Int]? {
      guard take("(") else { return nil }
      var sizes: [Int] = []
      while !take(")") {
        skipSpace()
        let digits = rest.prefix { (0x30...0x39).contains($0) }
        guard let size = Int(String(Substring(digits))), sizes.count < 32 else { return nil }
        rest = rest.dropFirst(digits.count)
        sizes.append(size)
        if !take(",") {
          guard take(")") else { return nil }
          break
        }
      }
      return sizes
    }
  }
}

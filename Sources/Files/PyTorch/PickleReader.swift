/// Reads a pickle as data: the few instructions that tensors and state dictionaries need, and no other.
///
/// A pickle is a program for a machine with a stack, and Python's would import and call whatever the program names. This
/// one imports nothing and calls nothing: names outside ``TorchGlobal`` and instructions outside this file are refused.
///
/// Format: <https://docs.python.org/3/library/pickletools.html>
struct PickleReader {
  /// The most values that may contain others, wait on the stack, or be remembered.
  static let mostValues = 1 << 20

  let bytes: UnsafeRawBufferPointer
  let path: String
  /// In the file, so that a message leads to the byte.
  private(set) var position: Int
  private let end: Int

  private(set) var objects: [PickleObject] = []
  /// The storages that have been named, by key.
  var storages: [String: TorchStorage] = [:]
  private var stack: [PickleValue] = []
  private var marks: [Int] = []
  private var memo: [Int: PickleValue] = [:]
  /// Where the instruction at work begins.
  private var instruction = 0

  /// Reads from `range` of a file's bytes.
  init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, path: String) {
    self.bytes = bytes
    self.path = path
    (position, end) = (range.lowerBound, range.upperBound)
  }

  /// Something wrong with the instruction at work.
  func error(_ problem: String, remedy: String? = nil) -> FileError {
    FileError(path, at: "pickle at byte \(instruction)", problem, remedy: remedy)
  }

  /// Runs the next pickle to its end and gives what it built.
  mutating func next() throws -> PickleValue {
    stack.removeAll()
    marks.removeAll()
    memo.removeAll()
    while true {
      instruction = position
      let code = try byte()
      if code == UInt8(ascii: ".") { return try pop() }
      try run(code)
      guard stack.count <= Self.mostValues, marks.count <= Self.mostValues, memo.count <= Self.mostValues,
        objects.count <= Self.mostValues
      else { throw error("builds more than \(Self.mostValues) values") }
    }
  }

  private mutating func run(_ code: UInt8) throws {
    switch code {
    case 0x80:
      let version = try byte()
      guard version <= 5 else { throw error("is of protocol \(version); 0 to 5 are known") }
    case 0x95: _ = try little(8)
    case UInt8(ascii: "("): marks.append(stack.count)
    case UInt8(ascii: "N"): stack.append(.other)
    case 0x88: stack.append(.bool(true))
    case 0x89: stack.append(.bool(false))
    case UInt8(ascii: "K"): stack.append(.integer(try little(1)))
    case UInt8(ascii: "M"): stack.append(.integer(try little(2)))
    case UInt8(ascii: "J"): stack.append(.integer(Int(Int32(truncatingIfNeeded: try little(4)))))
    case 0x8a: stack.append(try long(try little(1)))
    case 0x8b: stack.append(try long(try little(4)))
    case UInt8(ascii: "G"):
      _ = try take(8)
      stack.append(.other)
    case UInt8(ascii: "U"), 0x8c: stack.append(.text(try text(try little(1))))
    case UInt8(ascii: "T"), UInt8(ascii: "X"): stack.append(.text(try text(try little(4))))
    case 0x8d: stack.append(.text(try text(try little(8))))
    case UInt8(ascii: ")"): make(.tuple, [])
    case 0x85: make(.tuple, try pop(1))
    case 0x86: make(.tuple, try pop(2))
    case 0x87: make(.tuple, try pop(3))
    case UInt8(ascii: "t"): make(.tuple, try popToMark())
    case UInt8(ascii: "]"): make(.list, [])
    case UInt8(ascii: "}"): make(.dictionary, [])
    case UInt8(ascii: "a"): try append(try pop(1), toDictionary: false)
    case UInt8(ascii: "e"): try append(try popToMark(), toDictionary: false)
    case UInt8(ascii: "s"): try append(try pop(2), toDictionary: true)
    case UInt8(ascii: "u"): try append(try popToMark(), toDictionary: true)
    case UInt8(ascii: "q"): memo[try little(1)] = try top()
    case UInt8(ascii: "r"): memo[try little(4)] = try top()
    case 0x94: memo[memo.count] = try top()
    case UInt8(ascii: "h"): stack.append(try remembered(try little(1)))
    case UInt8(ascii: "j"): stack.append(try remembered(try little(4)))
    case UInt8(ascii: "c"): stack.append(try global(try line(), try line()))
    case 0x93:
      let names = try pop(2)
      guard case .text(let module) = names[0], case .text(let name) = names[1] else {
        throw error("imports something that is not a name")
      }
      stack.append(try global(module, name))
    case UInt8(ascii: "R"):
      let call = try pop(2)
      stack.append(try rebuilt(call[0], try tuple(call[1], "arguments")))
    case UInt8(ascii: "Q"): stack.append(try storage(try tuple(try pop(), "a persistent identity")))
    case UInt8(ascii: "b"):
      // The state of a state dictionary is a note of its modules' versions, which no array depends on.
      _ = try pop()
      guard case .object(let index) = try top(), case .orderedDictionary = objects[index].kind else {
        throw error("sets the state of something other than a dictionary", remedy: Self.remedy)
      }
    default:
      throw error("has the instruction \(Self.name(of: code)), which no tensor needs", remedy: Self.remedy)
    }
  }

  static let remedy = "nothing of the file was run; save the model's state_dict alone, or as safetensors"

  private static func name(of code: UInt8) -> String {
    let names: [UInt8: String] = [
      UInt8(ascii: "i"): "INST", UInt8(ascii: "o"): "OBJ", 0x81: "NEWOBJ", 0x92: "NEWOBJ_EX", 0x82: "EXT1",
      0x83: "EXT2", 0x84: "EXT4", UInt8(ascii: "P"): "PERSID", UInt8(ascii: "0"): "POP", UInt8(ascii: "1"): "POP_MARK",
      UInt8(ascii: "2"): "DUP", UInt8(ascii: "C"): "SHORT_BINBYTES", UInt8(ascii: "B"): "BINBYTES",
      0x8e: "BINBYTES8", 0x8f: "EMPTY_SET", 0x90: "ADDITEMS", 0x91: "FROZENSET", 0x96: "BYTEARRAY8",
      0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
    ]
    let number = String(code, radix: 16)
    return (names[code].map { $0 + " " } ?? "") + "0x" + (number.count == 1 ? "0" + number : number)
  }

  // MARK: Bytes

  private mutating func byte() throws -> UInt8 { try take(1)[0] }

  private mutating func take(_ count: Int) throws -> UnsafeRawBufferPointer {
    guard count <= end - position else {
      throw error("ends inside an instruction", remedy: "the file may be truncated; fetch it again")
    }
    defer { position += count }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
  }

  /// An unsigned number of so many bytes, least significant first.
  private mutating func little(_ count: Int) throws -> Int {
    let value = try take(count).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard let value = Int(exactly: value) else { throw error("claims a length of \(value) bytes") }
    return value
  }

  /// A signed number of so many bytes; what does not fit 64 bits is no number that a tensor needs.
  private mutating func long(_ count: Int) throws -> PickleValue {
    let digits = try take(count)
    guard count <= 8 else { return .other }
    guard let last = digits.last else { return .integer(0) }
    let sign: UInt64 = last & 0x80 == 0 ? 0 : .max
    return .integer(Int(truncatingIfNeeded: digits.reversed().reduce(sign) { $0 << 8 | UInt64($1) }))
  }

  private mutating func text(_ count: Int) throws -> String {
    let bytes = try take(count)
    guard let text = String(validating: bytes, as: UTF8.self) else { throw error("has a text that is not UTF-8") }
    return text
  }

  /// The bytes up to a line's end, which names of globals have.
  private mutating func line() throws -> String {
    guard let length = bytes[position..<min(end, position + 256)].firstIndex(of: UInt8(ascii: "\n")) else {
      throw error("imports a name that has no end")
    }
    let text = try text(length - position)
    position += 1
    return text
  }

  // MARK: The stack

  private mutating func make(_ kind: PickleObject.Kind, _ items: [PickleValue]) {
    stack.append(add(PickleObject(kind: kind, items: items)))
  }

  /// Keeps an object and gives the value that stands for it.
  mutating func add(_ object: PickleObject) -> PickleValue {
    objects.append(object)
    return .object(objects.count - 1)
  }

  private mutating func pop() throws -> PickleValue { try pop(1)[0] }

  private mutating func pop(_ count: Int) throws -> [PickleValue] {
    guard stack.count - (marks.last ?? 0) >= count else { throw error("takes more values than there are") }
    defer { stack.removeLast(count) }
    return Array(stack.suffix(count))
  }

  private mutating func popToMark() throws -> [PickleValue] {
    guard let mark = marks.popLast() else { throw error("has no mark to go back to") }
    defer { stack.removeLast(stack.count - mark) }
    return Array(stack[mark...])
  }

  private func top() throws -> PickleValue {
    guard stack.count > marks.last ?? 0, let value = stack.last else { throw error("takes more values than there are") }
    return value
  }

  private mutating func append(_ items: [PickleValue], toDictionary: Bool) throws {
    guard case .object(let index) = try top() else { throw error("adds to something that holds nothing") }
    if toDictionary {
      guard objects[index].isDictionary, items.count.isMultiple(of: 2) else {
        throw error("adds keys and values to something other than a dictionary")
      }
    } else {
      guard case .list = objects[index].kind else { throw error("adds values to something other than a list") }
    }
    objects[index].items += items
  }

  private func remembered(_ index: Int) throws -> PickleValue {
    guard let value = memo[index] else { throw error("remembers value \(index), which was never kept") }
    return value
  }

  private func tuple(_ value: PickleValue, _ what: String) throws -> [PickleValue] {
    guard case .object(let index) = value, case .tuple = objects[index].kind else {
      throw error("gives \(what) that are no tuple")
    }
    return objects[index].items
  }

  private func global(_ module: String, _ name: String) throws -> PickleValue {
    guard let global = TorchGlobal(module: module, name: name) else {
      throw error("names \(quoted(module + "." + name)), which is no part of a tensor", remedy: Self.remedy)
    }
    return .global(global)
  }
}

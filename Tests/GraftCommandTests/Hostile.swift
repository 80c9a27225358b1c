import Foundation
import Testing

/// A file made to do harm, and what must come of it.
struct Hostile: Sendable, CustomTestStringConvertible {
  let name: String
  /// What the message must say besides the file's name, such as the tensor or the line at fault.
  let says: String
  private let make: @Sendable () throws -> [UInt8]

  init(_ name: String, says: String = "", _ make: @escaping @Sendable () throws -> [UInt8]) {
    (self.name, self.says, self.make) = (name, says, make)
  }

  /// A text.
  init(_ name: String, says: String = "", _ text: @escaping @autoclosure @Sendable () -> String) {
    self.init(name, says: says) { Array(text().utf8) }
  }

  var testDescription: String { name }

  func bytes() throws -> [UInt8] { try make() }
}

/// SplitMix64, so that the damages are the same in every run.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// `original` with one to four small damages within `range`: a bit flipped, a byte set, inserted or removed, or a piece
/// of text that means something put over what is there.
func damaged(_ original: [UInt8], within range: Range<Int>, seed: Int, pieces: [[UInt8]]) -> [UInt8] {
  var bytes = original
  var random = SplitMix(state: UInt64(seed))
  for _ in 0..<Int.random(in: 1...4, using: &random) {
    let index = Int.random(in: range, using: &random)
    guard index < bytes.count else { continue }
    switch Int.random(in: 0..<5, using: &random) {
    case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 1: bytes[index] = UInt8.random(in: 0...255, using: &random)
    case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: index)
    case 3: bytes.removeSubrange(index..<min(bytes.count, index + Int.random(in: 1...8, using: &random)))
    default:
      let piece = pieces[Int.random(in: 0..<pieces.count, using: &random)]
      bytes.replaceSubrange(index..<min(bytes.count, index + piece.count), with: piece)
    }
  }
  return bytes
}

/// Pieces that mean something in JSON, YAML or their headers.
let textPieces = [
  "0", "9", "-", "\"", "{", "}", "[", "]", ",", ":", "\n", "\\", "\\u", "1e9", "null", "true", "99999999999999999999",
].map { Array($0.utf8) }

extension Scratch {
  /// Places a fixture's folder here that is only read.
  func link(_ fixture: String, as name: String) throws {
    try FileManager.default.createSymbolicLink(atPath: path + "/" + name, withDestinationPath: fixtures + "/" + fixture)
  }

  func write(_ bytes: [UInt8], to name: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + name))
  }

  /// Runs the program on a hostile file and expects what must hold of every such run: it ends within 20 seconds and
  /// 4 GB with one of `codes`, and where it refuses it says so in one sentence about `file` and leaves nothing behind.
  func expect(
    _ arguments: [String], endsWith codes: Set<Int32>, about file: String, saying words: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let before = try contents()
    let ending = try Command(arguments, in: path, megabytes: 4096).end(within: 20)
    var faults: [String] = []
    if !codes.contains(ending.code) { faults.append("it ends with \(ending.code)") }
    for sign in ["Fatal error", "runtime failure", "Program crashed", "Backtrac"] where ending.errors.contains(sign) {
      faults.append("it says '\(sign)'")
    }
    if ending.code != 0 {
      faults += Self.faults(ofMessage: ending.errors, code: ending.code, file: file, words: words)
      let left = try contents().subtracting(before)
      if !left.isEmpty { faults.append("it leaves \(left.sorted().joined(separator: ", "))") }
    }
    #expect(
      faults.isEmpty, "\(faults.joined(separator: "; ")): \(ending.errors.prefix(600))", sourceLocation: sourceLocation)
  }

  /// What is wrong with a refusal: a recipe's is a list of places with a count, any other a line.
  private static func faults(ofMessage errors: String, code: Int32, file: String, words: String) -> [String] {
    var faults: [String] = []
    if !errors.hasPrefix("error: ") { faults.append("it does not begin with 'error:'") }
    if !errors.hasSuffix("  (exit \(code))\n") { faults.append("it does not end with its code") }
    if errors.hasSuffix("nothing was started.  (exit \(code))\n") {
      if !errors.hasPrefix("error: \(file)") { faults.append("it does not begin with the place") }
    } else if errors.dropLast().contains("\n") {
      faults.append("it has several lines")
    } else if errors.utf8.count > 2000 {
      faults.append("it is \(errors.utf8.count) bytes long")
    }
    if !file.isEmpty, !errors.contains(file) { faults.append("it does not name '\(file)'") }
    if !words.isEmpty, !errors.contains(words) { faults.append("it does not say '\(words)'") }
    if errors.unicodeScalars.contains(where: { $0.value < 0x20 && $0 != "\n" }) { faults.append("it is not text") }
    return faults
  }

  /// Every path here but those of the program's output, and of a run's folder that holds nothing but its lock.
  private func contents() throws -> Set<String> {
    Set(try FileManager.default.subpathsOfDirectory(atPath: path)).subtracting([".out", ".err", "out", "out/.lock"])
  }
}

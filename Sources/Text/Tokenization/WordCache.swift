import Synchronization

/// The ids of words met before.
///
/// A lock guards the words, so copies of a tokenizer in several threads may share them. Nothing is forgotten; once full
/// the cache takes no more.
final class WordCache: Sendable {
  /// A word's bytes.
  private struct Word: Hashable {
    let bytes: [UInt8]

    func hash(into hasher: inout Hasher) {
      bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
  }

  private static let wordLimit = 20_000
  private static let byteLimit = 128

  private let words = Mutex<[Word: [Int]]>([:])

  /// The ids of `bytes`, computed when not at hand.
  func ids(of bytes: [UInt8], _ compute: () -> [Int]) -> [Int] {
    guard bytes.count <= Self.byteLimit else { return compute() }
    let word = Word(bytes: bytes)
    if let ids = words.withLock({ $0[word] }) { return ids }
    let ids = compute()
    words.withLock { if $0.count < Self.wordLimit { $0[word] = ids } }
    return ids
  }
}

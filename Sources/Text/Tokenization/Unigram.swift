/// A unigram language model: of all ways to cut a text into tokens, the one with the largest sum of scores.
///
/// (Kudo 2018; found by Viterbi's algorithm.) A character that is no token costs ten below the least score, and unknown
/// characters in a row make one unknown token, or with byte fallback the tokens `<0x..>` of their bytes.
struct Unigram: Sendable {
  var vocabulary: Vocabulary
  let scores: [Double]
  let unknown: Int
  let fallsBackToBytes: Bool

  private let tree: PrefixTree
  private let byteTokens: [Int?]
  private let unknownScore: Double
  private let cache = WordCache()

  /// - Precondition: `tokens` and `scores` are as many, and `unknown` is the index of one.
  init(tokens: [String], scores: [Double], unknown: Int, fallsBackToBytes: Bool) {
    var vocabulary = Vocabulary(capacity: tokens.count)
    for (id, token) in tokens.enumerated() { vocabulary.insert(token, id: id) }
    var tree = PrefixTree(capacity: tokens.count * 4)
    for (id, token) in tokens.enumerated() {
      // Of two tokens with one text the vocabulary finds the later.
      tree.insert(token.unicodeScalars, value: vocabulary.id(of: token) ?? id)
    }
    self.vocabulary = vocabulary
    self.scores = scores
    self.unknown = unknown
    self.fallsBackToBytes = fallsBackToBytes
    self.tree = tree
    byteTokens = vocabulary.byteTokens()
    unknownScore = (scores.min() ?? 0) - 10
  }

  func encode(_ word: ArraySlice<Unicode.Scalar>, into ids: inout [Int]) {
    let bytes = [UInt8](utf8: word)
    ids += cache.ids(of: bytes) { best(Array(word)) }
  }

  private func best(_ word: [Unicode.Scalar]) -> [Int] {
    // For every position the best way to reach it: the last token, where that began, and the sum of scores.
    var ways: [(start: Int, id: Int, score: Double)?] = Array(repeating: nil, count: word.count + 1)
    for start in word.indices {
      let score = ways[start]?.score ?? 0
      var hasSingle = false
      tree.forEachPrefix(of: word[...], from: start) { end, id in
        let candidate = score + scores[id]
        if ways[end].map({ candidate > $0.score }) ?? true { ways[end] = (start, id, candidate) }
        if end == start + 1 { hasSingle = true }
      }
      if !hasSingle {
        let candidate = score + unknownScore
        if ways[start + 1].map({ candidate > $0.score }) ?? true { ways[start + 1] = (start, unknown, candidate) }
      }
    }

    var pieces: [(range: Range<Int>, id: Int)] = []
    var end = word.count
    while end > 0, let way = ways[end] {
      if way.id == unknown, let last = pieces.last, last.id == unknown {
        pieces[pieces.count - 1].range = way.start..<last.range.upperBound
      } else {
        pieces.append((way.start..<end, way.id))
      }
      end = way.start
    }
    return pieces.reversed().flatMap { piece in piece.id == unknown ? unknownTokens(word[piece.range]) : [piece.id] }
  }

  /// The tokens of characters that are none.
  private func unknownTokens(_ text: ArraySlice<Unicode.Scalar>) -> [Int] {
    let string = String(scalars: text)
    if let id = vocabulary.id(of: string) { return [id] }
    guard fallsBackToBytes else { return [unknown] }
    let bytes = string.utf8.compactMap { byteTokens[Int($0)] }
    return bytes.count == string.utf8.count ? bytes : [unknown]
  }
}

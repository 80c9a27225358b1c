/// WordPiece: a word is cut, from its start, into the longest tokens there are; those inside a word carry a prefix.
///
/// (Schuster and Nakajima 2012, as in BERT.) A word that cannot be cut, or is too long, is one unknown token. Cutting
/// takes time in proportion to the word, times the longest token where a long one almost fits.
struct WordPiece: Sendable {
  let vocabulary: Vocabulary
  let unknown: Int
  let continuingPrefix: String

  /// How many scalars a word may have before it is unknown.
  let longestWord: Int

  /// The tokens that may begin a word, and those that may go on, without their prefix.
  private let beginning: PrefixTree
  private let continuing: PrefixTree

  init(vocabulary: Vocabulary, unknown: Int, continuingPrefix: String, longestWord: Int) {
    self.vocabulary = vocabulary
    self.unknown = unknown
    self.continuingPrefix = continuingPrefix
    self.longestWord = longestWord
    let prefix = Array(continuingPrefix.unicodeScalars)
    var beginning = PrefixTree(capacity: vocabulary.count * 4)
    var continuing = PrefixTree(capacity: vocabulary.count)
    for id in 0..<vocabulary.count {
      // Of two ids with one text the vocabulary finds the later.
      guard let token = vocabulary[id], vocabulary.id(of: token) == id else { continue }
      let scalars = token.unicodeScalars
      beginning.insert(scalars, value: id)
      if scalars.starts(with: prefix) { continuing.insert(scalars.dropFirst(prefix.count), value: id) }
    }
    self.beginning = beginning
    self.continuing = continuing
  }

  func encode(_ word: ArraySlice<Unicode.Scalar>, into ids: inout [Int]) {
    let first = ids.count
    var start = word.startIndex
    while start < word.endIndex {
      let tree = start == word.startIndex ? beginning : continuing
      guard word.count <= longestWord, let match = tree.longestPrefix(of: word, from: start) else {
        ids.removeSubrange(first...)
        ids.append(unknown)
        return
      }
      ids.append(match.value)
      start = match.end
    }
  }
}

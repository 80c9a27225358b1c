/// WordPiece: a word is cut, from its start, into the longest tokens there are; those inside a word carry a prefix.
///
/// (Schuster and Nakajima 2012, as in BERT.) A word that cannot be cut, or is too long, is one unknown token.
struct WordPiece: Sendable {
  var vocabulary: Vocabulary
  let unknown: Int
  let continuingPrefix: String
  let longestWord: Int

  func encode(_ word: ArraySlice<Unicode.Scalar>, into ids: inout [Int]) {
    guard word.count <= longestWord else {
      ids.append(unknown)
      return
    }
    // The bytes of the prefix come first, so that every later piece can be looked up as one slice.
    let prefix = Array(continuingPrefix.utf8)
    var bytes: [UInt8] = []
    var boundaries: [Int] = [0]
    for scalar in word {
      bytes += String(scalar).utf8
      boundaries.append(bytes.count)
    }
    let first = ids.count
    var start = 0
    while start < word.count {
      var found: Int?
      var end = word.count
      while end > start {
        let piece = bytes[boundaries[start]..<boundaries[end]]
        found = vocabulary.id(of: start == 0 ? piece : (prefix + piece)[...])
        if found != nil { break }
        end -= 1
      }
      guard let found else {
        ids.removeSubrange(first...)
        ids.append(unknown)
        return
      }
      ids.append(found)
      start = end
    }
  }
}

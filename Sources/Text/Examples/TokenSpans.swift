/// A text in which some stretches of bytes are to be learned.
struct SupervisedText {
  var text: String

  /// Stretches of `text.utf8`, in order, not touching each other.
  var spans: [Range<Int>]
}

extension SupervisedText {
  /// The token ids of the text, and for each whether it is to be learned.
  ///
  /// The text is tokenized once and whole, so the ids are those the model meets when it is given the same text. Where a
  /// stretch begins or ends inside a token, that token is not learned: the first token after a boundary is found by
  /// tokenizing what comes before it, or, where the tokens before depend on what follows, by comparing from the end.
  func tokens(_ encode: (String) -> [Int]) -> (ids: [Int], isSupervised: [Bool]) {
    let ids = encode(text)
    var isSupervised = [Bool](repeating: false, count: ids.count)
    let bytes = Array(text.utf8)
    for span in spans {
      let start = boundary(at: span.lowerBound, in: bytes, ids, encode).after
      let end = boundary(at: span.upperBound, in: bytes, ids, encode).before
      for index in start..<max(start, end) { isSupervised[index] = true }
    }
    return (ids, isSupervised)
  }

  /// How many tokens lie wholly before a byte, and the first token that lies wholly after it.
  private func boundary(
    at offset: Int, in bytes: [UInt8], _ ids: [Int], _ encode: (String) -> [Int]
  ) -> (before: Int, after: Int) {
    if offset == 0 { return (0, 0) }
    if offset == bytes.count { return (ids.count, ids.count) }
    let before = encode(String(decoding: bytes[..<offset], as: UTF8.self))
    if ids.starts(with: before) { return (before.count, before.count) }
    let after = encode(String(decoding: bytes[offset...], as: UTF8.self))
    let common = zip(ids, before).prefix { $0 == $1 }.count
    let commonEnd = zip(ids.reversed(), after.reversed()).prefix { $0 == $1 }.count
    return (common, max(common, ids.count - commonEnd))
  }
}

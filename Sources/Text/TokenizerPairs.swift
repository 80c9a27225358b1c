extension Tokenizer {
  /// The token ids of one text or of two in one sequence, with the special tokens that the model puts around them, and
  /// for each id the segment it belongs to: BERT's token types, 0 or 1.
  ///
  ///     let (ids, segments) = tokenizer.encode("a b", pair: "c")
  ///     // ids       [CLS] a b [SEP] c [SEP]
  ///     // segments    0   0 0   0   1   1
  ///
  /// What is longer than `limit` is cut at the end of the longer text, or at its start if `cutsStart`, until it fits
  /// (`longest_first` of `tokenizers`): a text shorter than half of the room stays whole, and of two longer ones each
  /// gets half, the longer the odd token.
  /// Special tokens count but are never cut, so a limit below ``specialTokenCount(pair:)`` gives those alone.
  public func encode(
    _ first: String, pair second: String?, limit: Int? = nil, cutsStart: Bool = false
  ) -> (ids: [Int], segments: [Int]) {
    var first = ids(of: first, skippingSpecial: false)
    var second = second.map { ids(of: $0, skippingSpecial: false) }
    if let limit {
      let room = max(0, limit - specialTokenCount(pair: second != nil))
      let kept = Self.longestFirst(first.count, second?.count ?? 0, room: room)
      first = Array(cutsStart ? first.suffix(kept.first) : first.prefix(kept.first))
      second = second.map { Array(cutsStart ? $0.suffix(kept.second) : $0.prefix(kept.second)) }
    }
    return template.filled(first: first, second: second)
  }

  /// How many special tokens ``encode(_:pair:limit:)`` puts around one text, or around a pair.
  public func specialTokenCount(pair: Bool) -> Int { template.specialCount(pair: pair) }

  /// How many kinds of segment ``encode(_:pair:limit:cutsStart:)`` tells apart in a pair.
  public var segmentKinds: Int { 1 + (template.pair.map(\.segment).max() ?? 0) }

  /// How many tokens of two texts are kept when there is `room` for so many.
  static func longestFirst(_ first: Int, _ second: Int, room: Int) -> (first: Int, second: Int) {
    guard first + second > room else { return (first, second) }
    let shorter = min(min(first, second), room / 2)
    // Of two texts of one length the second counts as the longer.
    return first > second ? (room - shorter, shorter) : (shorter, room - shorter)
  }
}

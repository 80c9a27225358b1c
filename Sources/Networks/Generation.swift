import Autodiff

/// How the next token is chosen.
public struct Sampling: Sendable, Equatable {
  /// 0 takes the likeliest; larger values flatten the distribution that is drawn from.
  public var temperature: Float
  /// Only the likeliest tokens that together reach this probability are drawn from.
  public var topP: Float
  /// Where the draws come from.
  public var random: RandomKey

  /// A way to choose; by default the likeliest token.
  public init(temperature: Float = 0, topP: Float = 1, random: RandomKey = RandomKey(seed: 0)) {
    (self.temperature, self.topP, self.random) = (temperature, topP, random)
  }

  /// The token chosen at `position` of a text from its logits.
  func choose(_ logits: [Float], position: Int) -> Int32 {
    guard temperature > 0, let top = logits.max() else {
      return Int32(logits.indices.max { logits[$0] < logits[$1] || (logits[$0] == logits[$1] && $0 > $1) } ?? 0)
    }
    let weights = Tensor(logits.map { ($0 - top) / temperature }, shape: [logits.count]).softmax.values
    let ranked = weights.indices.sorted { (weights[$0], $1) > (weights[$1], $0) }
    var mass: Float = 0, kept = 0
    while kept < ranked.count && (kept == 0 || mass < topP) {
      mass += weights[ranked[kept]]
      kept += 1
    }
    var stream = random[position].generator
    var left = Float(stream.uniform()) * mass
    for token in ranked[..<kept] {
      left -= weights[token]
      if left < 0 { return Int32(token) }
    }
    return Int32(ranked[kept - 1])
  }
}

extension LanguageModel {
  /// Continues `prompt` token by token, calling `onToken` with each, until `stop` is met, `limit` tokens are written or
  /// the context is full; the stopping token is not returned.
  @discardableResult
  public func generate(
    after prompt: [Int32], limit: Int, stop: Set<Int32>, _ sampling: Sampling = Sampling(),
    onToken: (Int32) -> Bool = { _ in true }
  ) -> [Int32] {
    generate(after: prompt, limit: limit, stop: stop, sampling, check: { _ in }, onToken: onToken)
  }

  /// The same; `check` is shown the logits from which each token is chosen.
  ///
  /// - Throws: what `check` throws.
  @discardableResult
  public func generate(
    after prompt: [Int32], limit: Int, stop: Set<Int32>, _ sampling: Sampling,
    check: (Tensor) throws -> Void, onToken: (Int32) -> Bool = { _ in true }
  ) rethrows -> [Int32] {
    guard !prompt.isEmpty else { return [] }
    let cache = makeCache()
    var written: [Int32] = []
    var states = states(prompt, cache: cache)
    while written.count < limit && cache.count < contextLength {
      let last = states.rows(states.shape[0] - 1..<states.shape[0])
      let logits = logits(last, Context())
      try check(logits)
      let token = sampling.choose(logits.values, position: prompt.count + written.count)
      if stop.contains(token) { break }
      written.append(token)
      if !onToken(token) { break }
      states = self.states([token], cache: cache)
    }
    return written
  }
}

import Files
import Networks
import Text
import Training

/// Perplexity by the standard protocol: windows that do not overlap, exp of the mean negative log-likelihood.
public struct PerplexityMeasure: Sendable {
  let window: Int, skip: Int
  let limit: Int?

  /// Windows of `window` tokens whose first `skip` tokens are read but not scored; at most `limit` of them.
  public init(window: Int, skip: Int = 1, limit: Int? = nil) {
    (self.window, self.skip, self.limit) = (window, skip, limit)
  }

  /// What was measured.
  public struct Result: Sendable {
    /// Nats a token, and its exponential.
    public let loss: Double, perplexity: Double
    /// Scored tokens, and windows.
    public let tokens: Int, windows: Int
  }

  /// Measures `model` on the text file `path`, or on the rows of a JSON Lines file laid end to end.
  ///
  /// - Throws: a ``FileError`` when the text is shorter than one window, or what the model computes is not finite.
  public func measure(_ model: LoadedModel, text path: String) throws -> Result {
    let network = try model.requireLanguageModel()
    let text = TokenText(path: path), ids = try text.ids(for: model)
    let windows = try text.windows(ids, of: window, limit: limit)
    // The loss takes logits in chunks and adds up their exponentials, in which one that is no number may be lost. A few
    // rows show every output of the head.
    let start = windows[0].prefix(8).map { ids[$0] }
    try model.require(finite: network.logits(TokenBatch([start])))
    var total = 0.0, count = 0
    for range in windows {
      let piece = Array(ids[range])
      let labels = Array(repeating: Example.unsupervised, count: skip) + piece[skip...]
      let (sum, scored) = network.lossSum(TokenBatch([piece]), labels: labels, Context())
      guard sum.scalar.isFinite else { throw model.notFinite("its losses") }
      total += Double(sum.scalar)
      count += scored
    }
    let loss = total / Double(count)
    return Result(loss: loss, perplexity: exponential(loss), tokens: count, windows: windows.count)
  }
}

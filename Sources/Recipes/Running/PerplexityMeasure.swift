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

  /// Measures `model` on the text file `path`.
  ///
  /// - Throws: a ``FileError`` when the text is shorter than one window.
  public func measure(_ model: LoadedModel, text path: String) throws -> Result {
    let network = try model.requireLanguageModel()
    let ids = try model.requireTokenizer().encodePlain(try TextFile.read(path)).map(Int32.init)
    let starts = Array(stride(from: 0, through: ids.count - window, by: window).prefix(limit ?? .max))
    guard !starts.isEmpty else {
      throw FileError(
        path, "has \(ids.count) tokens, fewer than one window of \(window)", remedy: "choose a smaller window")
    }
    var total = 0.0, count = 0
    for start in starts {
      let piece = Array(ids[start..<start + window])
      let labels = Array(repeating: Example.unsupervised, count: skip) + piece[skip...]
      let (sum, scored) = network.lossSum(TokenBatch([piece]), labels: labels, Context())
      total += Double(sum.scalar)
      count += scored
    }
    let loss = total / Double(count)
    return Result(loss: loss, perplexity: exponential(loss), tokens: count, windows: starts.count)
  }
}

import Autodiff
import Files
import Glibc
import Networks

/// How far one model's predictions lie from another's on a text, by the protocol of perplexity: windows that do not
/// overlap, each token predicted from those before it in its window.
public struct DivergenceMeasure: Sendable {
  let window: Int, skip: Int
  let limit: Int?
  /// Rows whose logits are held at once.
  private static let rowsAtOnce = 128

  /// Windows of `window` tokens whose first `skip` tokens are read but not scored; at most `limit` of them.
  public init(window: Int, skip: Int = 1, limit: Int? = nil) {
    (self.window, self.skip, self.limit) = (window, skip, limit)
  }

  /// What was measured, in nats a token.
  public struct Result: Sendable {
    /// KL(a ‖ b) of each scored token, rising.
    public let divergences: [Double]
    /// The share of tokens at which both find the same one likeliest.
    public let agreement: Double
    /// The mean negative log-likelihood by each model.
    public let losses: (a: Double, b: Double)
    /// Windows read.
    public let windows: Int

    /// Their exponentials.
    public var perplexities: (a: Double, b: Double) { (exponential(losses.a), exponential(losses.b)) }

    /// The mean divergence.
    public var mean: Double { divergences.reduce(0, +) / Double(max(1, divergences.count)) }
    /// The divergence that a share of the tokens does not exceed.
    public func quantile(_ share: Double) -> Double {
      divergences.isEmpty ? 0 : divergences[min(divergences.count - 1, Int(share * Double(divergences.count)))]
    }
  }

  /// Compares `b` with `a` on the text file `path`, in the ids of `a`.
  ///
  /// - Throws: a ``FileError`` when they do not have one tokenizer, a logit of either is not finite, or the text is
  ///   shorter than one window.
  public func measure(_ a: LoadedModel, _ b: LoadedModel, text path: String) throws -> Result {
    let (one, other) = (try a.requireLanguageModel(), try b.requireLanguageModel())
    guard one.vocabularySize == other.vocabularySize else {
      throw FileError(
        b.checkpoint.path, "knows \(other.vocabularySize) token ids, and \(a.checkpoint.path) \(one.vocabularySize)",
        remedy: "compare models of one tokenizer")
    }
    let text = TokenText(path: path), ids = try text.ids(for: a)
    try requireOneTokenizer(a, b)
    let windows = try text.windows(ids, of: window, limit: limit)
    var rows: [RowComparison] = []
    for range in windows {
      let batch = TokenBatch([Array(ids[range])])
      let (first, second) = (one.states(batch, Context()), other.states(batch, Context()))
      for start in stride(from: skip - 1, to: window - 1, by: Self.rowsAtOnce) {
        let part = start..<min(window - 1, start + Self.rowsAtOnce)
        let context = Context().at(part.map { Int32($0) })
        let logits = (one.logits(first.rows(part), context), other.logits(second.rows(part), context))
        try a.require(finite: logits.0)
        try b.require(finite: logits.1)
        rows += RowComparison.all(logits.0, logits.1, targets: part.map { Int(ids[range.lowerBound + $0 + 1]) })
      }
    }
    let count = Double(rows.count)
    return Result(
      divergences: rows.map(\.divergence).sorted(), agreement: Double(rows.count { $0.agrees }) / count,
      losses: (rows.reduce(0) { $0 + $1.lossA } / count, rows.reduce(0) { $0 + $1.lossB } / count),
      windows: windows.count)
  }
}

extension DivergenceMeasure {
  /// Refuses models that mean different texts by an id.
  ///
  /// - Throws: a ``FileError`` naming the first such id.
  private func requireOneTokenizer(_ a: LoadedModel, _ b: LoadedModel) throws {
    guard let one = a.tokenizer, let other = b.tokenizer else { return }
    for id in 0..<a.network.vocabularySize {
      guard let first = one.token(of: id), let second = other.token(of: id), first != second else { continue }
      throw FileError(
        b.checkpoint.path, "token \(id) is \(quoted(second)), and in \(a.checkpoint.path) \(quoted(first))",
        remedy: "compare models of one tokenizer")
    }
  }
}

/// Two rows of logits that predict one token.
private struct RowComparison: Sendable {
  var divergence = 0.0, lossA = 0.0, lossB = 0.0
  var agrees = true

  /// Every row of `a` with that of `b`, `[rows, ids]`.
  static func all(_ a: Tensor, _ b: Tensor, targets: [Int]) -> [RowComparison] {
    let width = a.shape.columns, best = zip(a.rowArgmax, b.rowArgmax).map { $0 == $1 }
    var rows = [RowComparison](repeating: RowComparison(), count: targets.count)
    a.withValues { a in
      b.withValues { b in
        rows.withUnsafeMutableBufferPointer { rows in
          nonisolated(unsafe) let rows = rows
          Parallel.forRanges(targets.count, grain: 4) { range in
            for row in range {
              let from = row * width..<(row + 1) * width
              rows[row] = RowComparison(
                UnsafeBufferPointer(rebasing: a[from]), UnsafeBufferPointer(rebasing: b[from]), target: targets[row],
                agrees: best[row])
            }
          }
        }
      }
    }
    return rows
  }

  private init() {}

  private init(_ a: UnsafeBufferPointer<Float>, _ b: UnsafeBufferPointer<Float>, target: Int, agrees: Bool) {
    func logSum(_ x: UnsafeBufferPointer<Float>) -> Double {
      let top = x.max() ?? 0
      return Double(top) + log(x.reduce(0.0) { $0 + Double(expf($1 - top)) })
    }
    let (sumA, sumB) = (logSum(a), logSum(b))
    // Σ p (log p − log q) with log p = a − log Σ exp a.
    var total = 0.0
    for i in a.indices {
      let logP = Double(a[i]) - sumA
      total += Double(expf(Float(logP))) * (logP - (Double(b[i]) - sumB))
    }
    // Zero but for the rounding of sums. Not max(): a NaN must be seen, not passed over.
    divergence = total < 0 ? 0 : total
    (lossA, lossB) = (sumA - Double(a[target]), sumB - Double(b[target]))
    self.agrees = agrees
  }
}

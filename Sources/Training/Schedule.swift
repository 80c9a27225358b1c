import Glibc

/// How the learning rate moves over a run.
public struct Schedule: Sendable, Equatable {
  /// The shapes a rate can take after its warm-up.
  public enum Shape: String, Sendable { case constant, linear, cosine }
  /// The shape.
  public var shape: Shape
  /// Steps over which the rate rises from 0.
  public var warmup: Int
  /// The steps of the whole run; linear and cosine reach 0 there.
  public var total: Int

  /// A schedule.
  public init(_ shape: Shape, warmup: Int = 0, total: Int) {
    (self.shape, self.warmup, self.total) = (shape, warmup, total)
  }

  /// The same shape over the steps `part` of the run alone, its warm-up shortened in proportion.
  func restarted(in part: Range<Int>) -> Schedule {
    Schedule(shape, warmup: (warmup * part.count + total - 1) / max(1, total), total: part.count)
  }

  /// The factor of the learning rate in step `step`, the first being 0; as transformers' schedules compute it.
  public func factor(_ step: Int) -> Double {
    if step < warmup { return Double(step) / Double(max(1, warmup)) }
    let progress = Double(step - warmup) / Double(max(1, total - warmup))
    switch shape {
    case .constant: return 1
    case .linear: return max(0, 1 - progress)
    case .cosine: return max(0, 0.5 * (1 + cos(.pi * min(1, progress))))
    }
  }
}

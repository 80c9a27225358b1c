import Autodiff
import Synchronization

/// Where batch norms leave the moments of the batch they saw, for the trainer to fold into the running ones afterwards.
///
///     let context = Context(random: key, moments: MomentRecorder())
///     … a pass forward and back …
///     model.learnMoments(from: recorder)
///
/// A pass leaves one entry a norm: a layer that is computed again on the way back leaves the same bits again. One recorder
/// serves one micro-batch; folding several in their order gives what PyTorch has after as many passes.
public final class MomentRecorder: Sendable {
  private let seen = Mutex<[String: (moments: ChannelMoments, count: Int)]>([:])

  /// An empty recorder.
  public init() {}

  /// Notes what the norm called `name` saw: the moments over `count` numbers a channel.
  func record(_ moments: ChannelMoments, over count: Int, at name: String) {
    seen.withLock { $0[name] = (moments, count) }
  }

  /// What the norm called `name` saw; nil where it was not run or does not learn its moments.
  public func moments(at name: String) -> (moments: ChannelMoments, count: Int)? { seen.withLock { $0[name] } }
}

extension Module {
  /// Moves the running moments of every batch norm towards what `recorder` saw of it.
  public mutating func learnMoments(from recorder: MomentRecorder) {
    forEachBatchNorm { name, norm in
      guard let seen = recorder.moments(at: norm.site) else { return }
      norm.moments = norm.moments.moved(towards: seen.moments, over: seen.count, by: norm.momentum)
    }
  }
}

extension ChannelMoments {
  /// PyTorch's running average: r ← (1 − m) r + m b, with the batch's variance over count − 1 and not over count.
  func moved(towards batch: ChannelMoments, over count: Int, by momentum: Float) -> ChannelMoments {
    let unbiased = Float(count) / Float(max(1, count - 1))
    return ChannelMoments(
      mean: (1 - momentum) * mean.detached + momentum * batch.mean.detached,
      variance: (1 - momentum) * variance.detached + (momentum * unbiased) * batch.variance.detached)
  }
}

import Autodiff
import Networks
import Weights

/// A matrix of floats whose channels S²FT adapters are added to and taken from, in place.
///
///     var served = ChannelMatrix(base.weight.unpacked())
///     try served.switchTo(commonsense)     // s · outputs additions, no matrix product
///     try served.switchTo(arithmetic)      // commonsense's channels have their old bits again
///
/// The numbers that an adapter replaced are kept and put back: subtracting it would leave rounding behind.
public struct ChannelMatrix: Sendable {
  /// The sizes, `[outputs, inputs]`.
  public let shape: Shape
  private var values: [Float]
  private var active: (adapter: S2FT, originals: [Float])?

  /// A matrix with no adapter in it.
  public init(_ matrix: Tensor) { (shape, values) = (matrix.shape, matrix.values) }

  /// The numbers now.
  public var tensor: Tensor { Tensor(values, shape: shape) }

  /// Takes out the adapter that ``switchTo(_:)`` put in, if there is one, and puts `adapter` in its place.
  ///
  /// - Throws: when the adapter was made for a matrix of another shape; then nothing has changed.
  public mutating func switchTo(_ adapter: S2FT?) throws {
    if let adapter, !fits(adapter) {
      throw GraftError("an adapter of \(adapter.channels.count) channels does not fit a matrix \(shape)")
    }
    if let (previous, originals) = active {
      for (i, place) in places(previous).enumerated() { values[place] = originals[i] }
    }
    active = adapter.map { ($0, places($0).map { values[$0] }) }
    if let adapter { add(adapter) }
  }

  /// Adds an adapter's change for good.
  mutating func add(_ adapter: S2FT) {
    guard let delta = adapter.delta?.value else { return }
    delta.withValues { change in
      for (i, place) in places(adapter).enumerated() { values[place] += change[i] }
    }
  }

  private func fits(_ adapter: S2FT) -> Bool {
    let (count, other) = adapter.side == .input ? (shape[1], shape[0]) : (shape[0], shape[1])
    guard adapter.channelCount == count else { return false }
    return adapter.delta.map { $0.value.shape[adapter.side == .input ? 0 : 1] == other } ?? true
  }

  /// Where the numbers of an adapter's change belong, in their order.
  private func places(_ adapter: S2FT) -> [Int] {
    let (rows, columns, channels) = (shape[0], shape[1], adapter.channels)
    switch adapter.side {
    case .input: return (0..<rows).flatMap { row in channels.map { row * columns + $0 } }
    case .output: return channels.flatMap { row in (0..<columns).map { row * columns + $0 } }
    }
  }
}

extension S2FT {
  /// One adapter that does what all of `parts` do, each times its factor.
  ///
  /// Where their channels are disjoint they do not meet in this matrix, and each keeps its numbers as they are.
  ///
  /// - Throws: when they train different sides, or matrices of different shapes.
  public static func fused(_ parts: [(adapter: S2FT, factor: Float)]) throws -> S2FT {
    guard let first = parts.first?.adapter else { throw GraftError("there are no adapters to fuse") }
    let isInput = first.side == .input
    // One line a channel: a column's numbers, or a row's.
    var lines: [Int: [Float]] = [:]
    var width: Int?
    for (adapter, factor) in parts {
      guard adapter.side == first.side, adapter.channelCount == first.channelCount else {
        throw GraftError(
          "adapters of \(first.channelCount) \(first.side.rawValue)put channels and of \(adapter.channelCount) \(adapter.side.rawValue)put channels cannot be fused"
        )
      }
      guard let delta = adapter.delta?.value.detached else { continue }
      let byChannel = isInput ? delta.transposed : delta, length = byChannel.shape[1], values = byChannel.values
      guard width ?? length == length else {
        throw GraftError("adapters of \(width ?? 0) and of \(length) numbers a channel cannot be fused")
      }
      width = length
      for (i, channel) in adapter.channels.enumerated() {
        let line = values[i * length..<(i + 1) * length].map { factor == 1 ? $0 : factor * $0 }
        lines[channel] = lines[channel].map { zip($0, line).map { $0 + $1 } } ?? line
      }
    }
    let channels = lines.keys.sorted()
    guard let width, !channels.isEmpty else {
      return S2FT(side: first.side, channels: [], of: first.channelCount, delta: nil)
    }
    let byChannel = Tensor(channels.flatMap { lines[$0] ?? [] }, shape: [channels.count, width])
    return S2FT(
      side: first.side, channels: channels, of: first.channelCount, delta: isInput ? byChannel.transposed : byChannel)
  }
}

import Autodiff

/// Splitting an input's widest channels into equal parts, and averaging others that are alike, so that its width stays.
///
///     disassembly   channel j → T_j channels x_j / T_j, each with W's column j
///     assembly      channels a₁, a₂, … and b → one channel, their mean, with the sum of their columns
///
/// Rounding is what tells this from the layer itself: all numbers of a token share one grid, and one channel of huge
/// range would leave the others few numbers of it. Columns that are repeated or added up give every copy back to its own
/// channel, so that the whole is a map of the input and `W` need not change. With D = diag(T), P the projection that
/// averages the assembled channels and q the rounding of a token,
///
///     W̃ q(R x) = W x',   x' = D q(D⁻¹ P x)
///
/// exactly, since copies are rounded alike. Without rounding only P is left of it, and without assembly nothing.
public struct ChannelReassembly: Sendable, Equatable {
  /// The channels of the input.
  public let channels: Int
  /// T of each channel that is split; at least 2.
  public let copies: [Int: Int]
  /// For each channel that is averaged into another, that other.
  public let partners: [Int: Int]

  /// A layer's input as it is.
  public static func identity(_ channels: Int) -> ChannelReassembly {
    ChannelReassembly(channels: channels, copies: [:], partners: [:])
  }

  /// A reassembly in which no channel is split and averaged, and none averaged into one that is averaged away.
  init(channels: Int, copies: [Int: Int], partners: [Int: Int]) {
    (self.channels, self.copies, self.partners) = (channels, copies, partners)
  }

  /// The channels after both steps.
  public var width: Int { channels + copies.values.reduce(0) { $0 + $1 - 1 } - partners.count }

  /// Whether the input stays as it is.
  public var isIdentity: Bool { copies.isEmpty && partners.isEmpty }

  /// The channels that are averaged together: each b with its a's, rising.
  var groups: [[Int]] {
    Dictionary(grouping: partners.keys) { partners[$0] ?? $0 }.map { ([$0.key] + $0.value).sorted() }
      .sorted { $0[0] < $1[0] }
  }

  /// T, `[channels]`: 1 where a channel is not split.
  var factors: Tensor { Tensor((0..<channels).map { Float(copies[$0] ?? 1) }, shape: [channels]) }

  /// How it is stored: the number of split channels, each of these and its T, then each pair a, b; empty for none.
  var numbers: [Int] {
    guard !isIdentity else { return [] }
    return [copies.count] + copies.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
      + partners.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
  }

  /// Reads what ``numbers`` wrote for a layer of `channels` inputs; an adapter file may hold any.
  ///
  /// - Throws: a ``GraftError`` naming the layer `site`.
  init(numbers: [Int], channels: Int, at site: String) throws {
    func refused(_ what: String) -> GraftError {
      GraftError("the reassembly of '\(site)' \(what); was the adapter trained on another model?")
    }
    var copies: [Int: Int] = [:], partners: [Int: Int] = [:]
    if let count = numbers.first {
      guard count >= 0, count <= numbers.count / 2, numbers.count % 2 == 1 else {
        throw refused("names \(count) split channels in \(numbers.count) numbers")
      }
      let pairs = stride(from: 1, to: numbers.count, by: 2).map { (numbers[$0], numbers[$0 + 1]) }
      for (channel, times) in pairs.prefix(count) {
        guard (0..<channels).contains(channel), copies.updateValue(times, forKey: channel) == nil else {
          throw refused("splits channel \(channel) of \(channels), or splits it twice")
        }
        guard (2...Self.mostCopies).contains(times) else {
          throw refused("splits channel \(channel) into \(times) parts")
        }
      }
      for (a, b) in pairs.dropFirst(count) {
        guard [a, b].allSatisfy({ (0..<channels).contains($0) && copies[$0] == nil }), a != b,
          partners.updateValue(b, forKey: a) == nil
        else { throw refused("averages channels \(a) and \(b) of \(channels)") }
      }
    }
    guard !partners.values.contains(where: { partners[$0] != nil }) else {
      throw refused("averages a channel into one that is averaged away")
    }
    self.init(channels: channels, copies: copies, partners: partners)
    guard width == channels else { throw refused("turns \(channels) channels into \(width)") }
  }

  /// No channel is split into more parts than there are channels that could make room for them.
  private static let mostCopies = 1 << 20
}

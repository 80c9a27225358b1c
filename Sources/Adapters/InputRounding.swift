import Autodiff

/// What QLLM does to a layer's input: x' = D q(D⁻¹ P x), see ``ChannelReassembly``; q rounds each token to a grid of its
/// own, see `roundedRows`.
struct InputRounding: Sendable {
  /// The numbers a token is rounded to are 2^bits; nil where it is not rounded.
  let bits: Int?
  /// Which channels are split and averaged.
  let reassembly: ChannelReassembly
  private let groups: [[Int]], factors: Tensor?

  init(bits: Int?, _ reassembly: ChannelReassembly) {
    (self.bits, self.reassembly, groups) = (bits, reassembly, reassembly.groups)
    factors = reassembly.copies.isEmpty ? nil : reassembly.factors
  }

  /// The input `[…, channels]` as the layer's product reads it.
  func callAsFunction(_ x: Tensor) -> Tensor {
    let averaged = groups.isEmpty ? x : x.averagingChannels(groups)
    // D D⁻¹ = 1: what is not rounded is not split either.
    return bits.map { roundedRows(averaged, bits: $0, factors: factors) } ?? averaged
  }
}

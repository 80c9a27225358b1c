import Autodiff

/// A network whose middle is a stack of blocks that read and write one stream of states.
public protocol BlockStack: Module {
  /// The number of blocks.
  var blockCount: Int { get }
  /// The stream that enters the first block, `[tokens, width]`.
  func embedded(_ batch: TokenBatch, _ context: Context) -> Tensor
  /// The stream behind `blocks` when `h` `[tokens, width]`, which belongs to `batch`, enters the first of them.
  func hidden(_ h: Tensor, through blocks: Range<Int>, of batch: TokenBatch, _ context: Context) -> Tensor
}

extension BlockStack {
  /// The hidden states behind the first `count` blocks, before the final norm: `[tokens, width]`.
  public func hidden(_ batch: TokenBatch, through count: Int, _ context: Context = Context()) -> Tensor {
    hidden(embedded(batch, context), through: 0..<count, of: batch, context)
  }

  /// The channels of the stream.
  public var streamWidth: Int {
    var copy = self, width = 0
    copy.forEachBlock { width = $1.width }
    return width
  }
}

/// The first number in a dotted name: the block that a layer or parameter belongs to; nil for what belongs to none.
public func blockIndex(_ name: String) -> Int? { name.split(separator: ".").lazy.compactMap { Int($0) }.first }

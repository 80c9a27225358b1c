import Autodiff

/// A network whose middle is a stack of blocks that read and write one stream of states.
public protocol BlockStack: Module {
  /// The number of blocks.
  var blockCount: Int { get }
  /// The stream that enters the first block, `[tokens, width]`.
  func embedded(_ batch: TokenBatch, _ context: Context) -> Tensor
  /// The linear layers of a block by the input they read, in order, each under its name within the block.
  var inputGroups: [InputGroup] { get }
  /// The stream behind `blocks` when `h` `[tokens, width]`, which belongs to `batch`, enters the first of them.
  func hidden(_ h: Tensor, through blocks: Range<Int>, of batch: TokenBatch, _ context: Context) -> Tensor
}

extension BlockStack {
  /// None are known.
  public var inputGroups: [InputGroup] { [] }

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

/// Linear layers of a block that read the same input, and what makes that input.
public struct InputGroup: Sendable, Equatable {
  /// Whether and where a factor on each channel of the input can be undone.
  public enum Source: Sendable, Equatable {
    /// Nowhere, exactly.
    case fixed
    /// In the weights of a norm, parameters of these names within the block; `bias` where it has one.
    case norm(weight: String, bias: String?)
    /// In the rows of a linear layer of this name, whose output the input is, or is a factor of.
    case rows(of: String)
  }

  /// The layers' names within the block, as they end in the model.
  public let layers: [String]
  /// What makes their input.
  public let source: Source

  /// A group of layers.
  public init(_ layers: [String], from source: Source) { (self.layers, self.source) = (layers, source) }
}

/// The first number in a dotted name: the block that a layer or parameter belongs to; nil for what belongs to none.
public func blockIndex(_ name: String) -> Int? { name.split(separator: ".").lazy.compactMap { Int($0) }.first }

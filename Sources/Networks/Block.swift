import Autodiff

/// The place around a residual branch, where adapters stand that read or write the stream itself.
///
///     h ← h + f(h)        f the branch, norm included: a feed-forward or an attention block
///
/// The branch's own layers stay where they are; this only knows how to call it.
public struct AdaptedBlock: Module {
  /// What learns here, if anything does.
  public var adapter: (any BlockAdapter)?
  /// Channels of the stream.
  public let width: Int

  /// A place in a stream of `width` channels, with nothing grafted.
  public init(width: Int) { self.width = width }

  /// `h` `[tokens, width]` with the branch's output, and the adapter's change, added.
  public func callAsFunction(_ h: Tensor, _ context: Context, branch: (Tensor) -> Tensor) -> Tensor {
    adapter.map { $0(h, context, branch: branch) } ?? h + branch(h)
  }

  /// Presents the adapter's parameters.
  public mutating func visit(_ visitor: Visitor) {
    if var present = adapter {
      present.visit(visitor)
      adapter = present
    }
  }
}

/// A small trainable network beside or behind a residual branch.
///
/// It cannot be folded into the branch's matrices, being no linear function; what its splits merge to is up to
/// ``settled``.
public protocol BlockAdapter: Module {
  /// What can be chosen about it.
  associatedtype Configuration: Sendable
  /// The name recipes use.
  static var method: String { get }
  /// Why it cannot fold into the base.
  static func merging(_ configuration: Configuration) -> Merging
  /// The recipe keys of this family besides those in ``AdapterSettings``.
  static var options: [String] { get }
  /// What `settings` choose for the block named `site`.
  static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration
  /// Starts an adapter in a stream of `width` channels.
  init(width: Int, _ configuration: Configuration, _ setup: Setup) throws
  /// The stream behind the block.
  func callAsFunction(_ h: Tensor, _ context: Context, branch: (Tensor) -> Tensor) -> Tensor
  /// The adapter as it is stored and used once training is over.
  var settled: Self { get }
  /// The settings under which that is stored.
  static func stored(_ settings: AdapterSettings) -> AdapterSettings
  /// See ``Adapter/consistency(_:)``.
  static func consistency(_ settings: AdapterSettings) throws -> Double?
}

extension BlockAdapter {
  /// No keys of its own.
  public static var options: [String] { [] }
  /// Itself.
  public var settled: Self { self }
  /// As they are.
  public static func stored(_ settings: AdapterSettings) -> AdapterSettings { settings }
  /// One pass a step.
  public static func consistency(_ settings: AdapterSettings) throws -> Double? { nil }
}

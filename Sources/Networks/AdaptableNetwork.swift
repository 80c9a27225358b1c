/// What grafting asks of a network, of texts or of images.
public protocol AdaptableNetwork: Module {
  /// The layer whose outputs are the logits, by name; families adapt it only where a recipe names it.
  var headName: String { get }
  /// Whether the head is the embedding table.
  var tiesHead: Bool { get }
  /// For the ends of layers' names, the channels that belong together there, such as the size of a head.
  var channelUnits: [String: Int] { get }
}

extension AdaptableNetwork {
  /// Every channel stands alone.
  public var channelUnits: [String: Int] { [:] }
}

import Adapters
import Autodiff
import Files
import Networks

/// All that training changed in a network: its trainable numbers and the running moments of norms that learn them.
public struct TaskState: Sendable {
  /// By name.
  public private(set) var parameters: [String: Tensor] = [:]
  private var moments: [String: ChannelMoments] = [:]

  /// What `network` has now.
  public init(of network: any ImageNetwork) {
    for parameter in network.trainableParameters { parameters[parameter.name] = parameter.value }
    var copy = network
    copy.forEachBatchNorm { if $1.learnsMoments { moments[$0] = $1.moments } }
  }

  /// Puts it into a network of the same kind.
  public func install(into network: inout any ImageNetwork) {
    network.forEachParameter { name, parameter in
      if parameter.isTrainable, let value = parameters[name] { parameter.value = value }
    }
    network.forEachBatchNorm { if let own = moments[$0] { $1.moments = own } }
  }

  /// The parameter of that name.
  ///
  /// - Throws: a `GraftError` when it does not learn.
  func parameter(_ name: String) throws -> Tensor {
    guard let value = parameters[name] else { throw GraftError("the network has no '\(name)' that learns") }
    return value
  }

  /// Numbers that a task keeps: those that were trained, and two a channel of a norm.
  public var count: Int {
    parameters.values.reduce(0) { $0 + $1.count } + moments.values.reduce(0) { $0 + 2 * $1.mean.count }
  }

  /// The same without the output layer, as the share of a body that the literature counts.
  public func count(withoutHead head: String) -> Int {
    count - parameters.filter { $0.key.hasPrefix(head + ".") }.values.reduce(0) { $0 + $1.count }
  }

  private var tensors: [(name: String, value: Tensor)] {
    let running = moments.flatMap {
      [($0.key + ".running_mean", $0.value.mean), ($0.key + ".running_var", $0.value.variance)]
    }
    return (parameters.map { ($0.key, $0.value) } + running).sorted { $0.0 < $1.0 }.map { (name: $0.0, value: $0.1) }
  }

  /// Writes it as safetensors.
  public func write(to path: String) throws {
    try Safetensors.write(
      tensors.map { TensorToWrite(name: $0.name, floats: $0.value.values, shape: $0.value.shape.dimensions) }, to: path)
  }

  /// Reads what ``write(to:)`` wrote; `like` has the same names and shapes.
  ///
  /// - Throws: a ``FileError`` when anything is missing, over, or of another shape.
  public init(_ path: String, like: TaskState) throws {
    self = like
    let file = try Safetensors(path)
    let wanted = like.tensors
    if let extra = Set(file.names).subtracting(wanted.map(\.name)).sorted().first {
      throw FileError(path, at: "tensor \(quoted(extra))", "is not kept by a task of this run")
    }
    for (name, value) in wanted {
      let entry = try file.entry(name)
      guard entry.shape == value.shape.dimensions else {
        throw FileError(path, at: "tensor '\(name)'", "has shape \(entry.shape); expected \(value.shape)")
      }
      let read = Tensor(try entry.floats(), shape: value.shape)
      if parameters[name] != nil { parameters[name] = read }
      if name.hasSuffix(".running_mean") { moments[String(name.dropLast(13))]?.mean = read }
      if name.hasSuffix(".running_var") { moments[String(name.dropLast(12))]?.variance = read }
    }
  }
}

import Autodiff
import Files
import Synchronization
import Weights

/// A network of images beside the file it came from: under what names that holds the network's weights.
///
/// Names in memory and names in files differ, as files come with the names of several years and with their root or without
/// it. What replaces a file's matrices one by one has to know both.
public struct StoredImageNetwork: Sendable {
  /// The network.
  public var network: any ImageNetwork
  /// The tensors of its folder.
  public let file: Safetensors
  /// The tensors that hold the layers' weights (`vit.encoder.layer.0.attention.attention.query.weight`) by the layers' names
  /// (`vit.layers.0.attention.q_proj`); a layer that was made of nothing, such as a head that the file has not, has none.
  public let tensorNames: [String: String]
  /// The names that the network asked for, some of which may be another form's than the file's own.
  public let used: Set<String>

  /// The names in ``file`` of what belongs to the packed matrix `name` alone, beside itself: scales, orders, zeros.
  public func companions(of name: String) -> [String] {
    let stem = name.hasSuffix(".weight") ? name.dropLast(6) : name + "."
    return file.names.filter { $0.hasPrefix(stem) && !used.contains($0) }
  }
}

extension ImageCheckpoint {
  /// The network with the names under which its folder holds it.
  ///
  /// - Throws: as ``network()``.
  public func stored() throws -> StoredImageNetwork {
    let source = try SafetensorsSource(folder: path, configuration: configuration), notes = Notes()
    let network = try network(from: NotingSource(base: source, notes: notes))
    try source.requireAllUsed(by: architecture)
    let noted = notes.noted.withLock { $0 }
    var copy = network, names: [String: String] = [:]
    func note(_ layer: String, _ weight: FrozenWeight) {
      names[layer] = noted.matrices.first { $0.weight.isSame(as: weight) }?.name
    }
    copy.forEachConvolution { note($0, $1.base.weight) }
    copy.forEachLinear { note($0, $1.base.weight) }
    return StoredImageNetwork(network: network, file: source.file, tensorNames: names, used: noted.names)
  }
}

/// What a network asked for while it was made.
private final class Notes: Sendable {
  let noted = Mutex<(matrices: [(name: String, weight: FrozenWeight)], names: Set<String>)>(([], []))

  func add(_ name: String) { noted.withLock { _ = $0.names.insert(name) } }

  func adding(_ name: String, _ weight: FrozenWeight) -> FrozenWeight {
    noted.withLock {
      $0.names.insert(name)
      $0.matrices.append((name, weight))
    }
    return weight
  }
}

/// A folder's tensors, which takes down what is asked of it.
private struct NotingSource: WeightSource {
  let base: SafetensorsSource
  let notes: Notes

  var path: String { base.path }
  var unused: [String] { base.unused }

  func matrix(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight {
    notes.adding(name, try base.matrix(name, rows: rows, columns: columns))
  }
  func filters(_ name: String, shape: Shape) throws -> FrozenWeight {
    notes.adding(name, try base.filters(name, shape: shape))
  }
  func packed(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight? {
    try base.packed(name, rows: rows, columns: columns).map { notes.adding(name, $0) }
  }
  func vector(_ name: String, count: Int) throws -> Tensor {
    notes.add(name)
    return try base.vector(name, count: count)
  }
  func tensor(_ name: String, shape: Shape) throws -> Tensor {
    notes.add(name)
    return try base.tensor(name, shape: shape)
  }
  func ignore(_ name: String) { base.ignore(name) }
}

import Autodiff
import Files
import Networks

/// An adapter of routed skills on its own, without its base, in the form of PEFT's Poly.
///
/// PEFT scales by 1 / R, R one rank for all layers, and knows no α. With s the scale of a layer and r its rank,
///
///     s B A = (1 / R) (s R B) A
///
/// so `b` takes s R in, and a layer of fewer than R ranks gets zeros for the rest. Exact, but for one rounding of each
/// number of `b` where s R is no power of two.
public struct PolyFolder: Sendable {
  /// One layer's inventory, as ``MHR`` describes it.
  struct Layer: Sendable {
    var a: Tensor, b: Tensor
    let logits: Tensor
  }

  /// What its `adapter_config.json` will say.
  public let configuration: PEFTConfiguration
  /// The layers, by name.
  private(set) var layers: [String: Layer] = [:]
  /// Whole modules it learned beside them, by the name of the tensor.
  private var modules: [String: Tensor] = [:]

  private static let prefix = "base_model.model."
  private static let parts = ["poly_lora_A", "poly_lora_B", "poly_router.module_logits"]

  /// The adapter in `folder`, taken to PEFT's scale.
  ///
  /// - Throws: a ``FileError`` when it is no ``MHR``, trains biases of its base, or its tensors are malformed.
  public init(_ folder: String) throws {
    let path = folder + "/adapter_config.json"
    let read = try PEFTConfiguration(json: try JSON.read(path), path: path)
    var plan = read.plan
    guard plan.method == MHR.method else {
      throw FileError(path, "is of type '\(plan.method)', and only '\(MHR.method)' has the form of PEFT's Poly")
    }
    guard plan.bias == .none else {
      throw FileError(path, at: "key 'bias'", "the adapter also learned biases, which PEFT's Poly has no place for")
    }
    let file = try Safetensors(folder + "/adapter_model.safetensors")
    let shape = try MHR.configuration(plan.settings, at: "")
    for stored in file.names {
      guard let (site, part) = Self.parts(stored) else {
        guard plan.modulesToSave.contains(where: { stored.contains(".\($0).") }) else {
          throw FileError(file.path, at: "tensor \(quoted(stored))", "is no part of a routed adapter")
        }
        modules[stored] = try Self.tensor(file, stored)
        continue
      }
      guard part == Self.parts[0] else { continue }
      layers[site] = try Self.layer(site, in: file, plan.settings, shape)
    }
    guard let rank = layers.values.map({ $0.a.shape[3] }).max() else { throw FileError(file.path, "holds no adapter") }
    for (site, layer) in layers { layers[site] = Self.rescaled(layer, by: plan.settings, at: site, to: rank) }
    if plan.layers != .all {
      (plan.targets, plan.excluded, plan.layers) = (.names(layers.keys.sorted()), nil, .all)
    }
    (plan.settings.rank, plan.settings.alpha, plan.settings.isRankStabilised) = (rank, 1, false)
    (plan.settings.rankPattern, plan.settings.alphaPattern) = ([:], [:])
    configuration = PEFTConfiguration(plan, baseModel: read.baseModel)
  }

  /// The layer and the part of it that a tensor's name tells.
  private static func parts(_ stored: String) -> (site: String, part: String)? {
    guard stored.hasPrefix(prefix), let part = parts.first(where: { stored.hasSuffix("." + $0) }) else { return nil }
    return (String(stored.dropFirst(prefix.count).dropLast(part.count + 1)), part)
  }

  private static func tensor(_ file: Safetensors, _ name: String) throws -> Tensor {
    let entry = try file.entry(name)
    let value = Tensor(try entry.floats(), shape: Shape(entry.shape))
    guard value.isFinite else {
      throw FileError(file.path, at: "tensor '\(name)'", "holds numbers that are not finite")
    }
    return value
  }

  private static func layer(
    _ site: String, in file: Safetensors, _ settings: AdapterSettings, _ shape: MHR.Configuration
  ) throws -> Layer {
    let (S, K, r, T) = (shape.heads, shape.skills, settings.rank(at: site), max(1, settings.tasks.count))
    func read(_ part: String, _ wanted: String, _ fits: ([Int]) -> Bool) throws -> Tensor {
      let name = prefix + site + "." + part, found = try file.entry(name).shape
      guard fits(found) else {
        throw FileError(
          file.path, at: "tensor '\(name)'",
          "has shape \(described(shape: found)), where adapter_config.json asks for \(wanted)")
      }
      return try tensor(file, name)
    }
    return Layer(
      a: try read(parts[0], "[\(S), \(K), …, \(r)]") { $0.count == 4 && $0[0] == S && $0[1] == K && $0[3] == r },
      b: try read(parts[1], "[\(S), \(K), \(r), …]") { $0.count == 4 && $0[0] == S && $0[1] == K && $0[2] == r },
      logits: try read(parts[2], "[\(T), \(S * K)]") { $0 == [T, S * K] })
  }

  private static func rescaled(
    _ layer: Layer, by settings: AdapterSettings, at site: String, to rank: Int
  ) -> Layer {
    let (S, K, r) = (layer.a.shape[0], layer.a.shape[1], layer.a.shape[3])
    var result = layer
    let factor = settings.scale(at: site) * Float(rank)
    if factor != 1 { result.b = factor * layer.b }
    guard r < rank else { return result }
    // Zeros behind the last axis of `a` and the last but one of `b`.
    func padded(_ rows: Tensor) -> Tensor {
      .concatenated([rows, .zeros([rank - r, rows.shape[1]])])
    }
    let (inputs, outputs) = (layer.a.shape[2], layer.b.shape[3])
    result.a = padded(result.a.reshaped([S * K * inputs, r]).transposed).transposed.reshaped([S, K, inputs, rank])
    let blocks = result.b.reshaped([S * K * r, outputs])
    result.b = Tensor.concatenated((0..<S * K).map { padded(blocks.rows($0 * r..<($0 + 1) * r)) })
      .reshaped([S, K, rank, outputs])
    return result
  }

  /// The number of layers.
  public var layerCount: Int { layers.count }

  /// Writes `adapter_config.json` and `adapter_model.safetensors` into `folder`, each whole or not at all.
  ///
  /// - Throws: a ``FileError`` when α made a number infinite, or a file cannot be written.
  public func write(to folder: String) throws {
    var tensors: [TensorToWrite] = []
    func add(_ name: String, _ value: Tensor) throws {
      guard value.isFinite else {
        throw FileError(folder, at: "tensor '\(name)'", "would hold numbers that are not finite")
      }
      tensors.append(TensorToWrite(name: name, floats: value.values, shape: value.shape.dimensions))
    }
    for (site, layer) in layers.sorted(by: { $0.key < $1.key }) {
      for (part, value) in zip(Self.parts, [layer.a, layer.b, layer.logits]) {
        try add("\(Self.prefix)\(site).\(part)", value)
      }
    }
    for (name, value) in modules.sorted(by: { $0.key < $1.key }) { try add(name, value) }
    try Folder.create(folder)
    try AtomicFile.write(configuration.json.text(pretty: true) + "\n", to: folder + "/adapter_config.json")
    try Safetensors.write(tensors, metadata: ["format": "pt"], to: folder + "/adapter_model.safetensors")
  }
}

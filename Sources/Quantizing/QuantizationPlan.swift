import Adapters
import Networks
import Weights

/// How a model's matrices are to be packed, and by what their codes are chosen.
public struct QuantizationPlan: Sendable, Equatable {
  /// What becomes of a matrix.
  public var packing: Packing
  /// How codes are chosen.
  public var rounding = Rounding.nearest
  /// Whether channels are scaled beforehand.
  public var scaling = Scaling.none
  /// How a group's range is chosen.
  public var clip = Clip.none
  /// Along what groups lie.
  public var axis = Axis.asPacked
  /// Whether each layer takes the best of the three 4-bit floats.
  public var searchesFormat = false
  /// Layers left as they are: names, or the ends of names.
  public var skip: [String] = []
  /// Whether what a packed model stands for is taken for the original.
  public var acceptsPacked = false
  /// The packing of the embedding table; nil to leave it.
  public var embedding: Packing?

  /// How codes are chosen.
  public enum Rounding: Sendable, Equatable {
    /// Each number to the nearest code.
    case nearest
    /// Column by column, later ones making good the errors of earlier ones.
    case gptq
  }

  /// What is done to channels before rounding; undone, exactly, in what comes before the layer.
  public enum Scaling: Sendable, Equatable {
    /// Nothing.
    case none
    /// Channels that carry large activations are scaled up, so that their weights lose less (AWQ).
    case awq
    /// Channels whose activations stand out are scaled down, for activations of so many bits (Outlier Suppression+).
    case outliers(bits: Int)
  }

  /// How a group's range is chosen.
  public enum Clip: String, Sendable, CaseIterable {
    /// From its least to its greatest value.
    case none
    /// For the least error of its own numbers.
    case weights
    /// For the least error of its share of the output on what was measured (AWQ's).
    case outputs
  }

  /// Along what groups lie.
  public enum Axis: String, Sendable, CaseIterable {
    /// As the packing says.
    case asPacked = "as_packed"
    /// Layer by layer, whichever loses less (AdaDim).
    case adaptive
  }

  /// Round to nearest.
  public init(_ packing: Packing) { self.packing = packing }

  /// What has to be measured of the layers' inputs.
  public var statistics: Statistics {
    var wanted: Statistics = []
    if rounding == .gptq || axis == .adaptive || searchesFormat || clip == .outputs { wanted.formUnion(.secondMoment) }
    switch scaling {
    case .none: break
    case .awq: wanted.formUnion([.secondMoment, .magnitudes])
    case .outliers: wanted.formUnion([.secondMoment, .samples])
    }
    return wanted
  }

  /// - Throws: a ``QuantizationError`` for choices that do not go together.
  public func check() throws {
    guard packing.layout == nil else {
      if searchesFormat, case .levels? = packing.layout?.element { return }
      if searchesFormat {
        throw QuantizationError(
          "a search among 4-bit floats needs one to begin with, and the packing is \(packing.name)",
          remedy: "write --packing fp4-g64")
      }
      return
    }
    if case .partlyBinary = packing, axis == .asPacked, !searchesFormat, clip == .none { return }
    let asked: [(Bool, String)] = [
      (rounding == .gptq, "gptq"), (axis == .adaptive, "adadim"), (searchesFormat, "fp4"),
      (clip != .none, "a choice of ranges"),
    ]
    if let (_, name) = asked.first(where: \.0) {
      throw QuantizationError(
        "\(name) chooses codes of groups, and \(packing.name) has rules of its own",
        remedy: "choose a packing of groups, such as int4-g64, or method rtn, awq or os+")
    }
  }

  /// - Throws: a ``QuantizationError`` when something is to be measured and there is nothing to measure it on.
  public func check(isCalibrated: Bool) throws {
    guard isCalibrated || statistics.isEmpty else {
      throw QuantizationError(
        "this method measures what the layers read, and there is no calibration text",
        remedy: "give one with --calibration")
    }
  }

  /// Refuses a model whose layers are packed already, unless that is accepted, or of sizes the packing does not take.
  ///
  /// - Throws: a ``QuantizationError`` naming the first such layer.
  public func check(_ model: any TextNetwork) throws {
    var copy = model, problem: QuantizationError?
    let groups = model.inputGroups.flatMap(\.layers)
    copy.forEachLinear { name, layer in
      let weight = layer.base.weight
      guard problem == nil, !isSkipped(name), groups.contains(where: { name.hasSuffix("." + $0) }) else { return }
      if weight.packing.isRounded && !acceptsPacked {
        problem = QuantizationError(
          "layer '\(name)' is packed already",
          remedy: "quantise the model it was made from, or take it as it is with --requantize")
      }
      do { try packing.check(rows: weight.rows, columns: weight.columns) } catch {
        let short = name.split(separator: ".").last ?? ""
        problem = QuantizationError("layer '\(name)': \(error)", remedy: "or leave it as it is with --skip \(short)")
      }
    }
    if let embedding {
      copy.forEachEmbedding { name, table in
        let weight = table.base.weight
        guard problem == nil, table.adapter == nil, !weight.packing.isRounded else { return }
        do { try embedding.check(rows: weight.rows, columns: weight.columns) } catch {
          problem = QuantizationError("embedding '\(name)': \(error)", remedy: "or choose another with --embedding")
        }
      }
    }
    if let problem { throw problem }
  }

  func isSkipped(_ name: String) -> Bool { skip.contains { name.isNamed($0) } }

  /// The layers of `model` that are there to be packed, whether or not they are skipped.
  package static func layers(of model: any TextNetwork) -> [String] {
    var copy = model, names: [String] = []
    let groups = model.inputGroups.flatMap(\.layers)
    copy.forEachLinear { name, _ in if groups.contains(where: { name.hasSuffix("." + $0) }) { names.append(name) } }
    return names
  }
}

extension String {
  /// Whether this name of a layer is `other`, or ends in it.
  package func isNamed(_ other: String) -> Bool { self == other || hasSuffix("." + other) }
}

/// What keeps a layer's numbers from being packed.
public struct LayerError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The layer, what was found, and what to do.
  public let layer: String, problem: String, remedy: String?

  init(_ layer: String, _ problem: String, remedy: String? = nil) {
    (self.layer, self.problem, self.remedy) = (layer, problem, remedy)
  }

  /// One sentence from all.
  public var description: String { "layer '\(layer)': \(problem)" + (remedy.map { "; \($0)" } ?? "") }
}

/// What keeps a model from being quantised.
public struct QuantizationError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What was found, and what to do.
  public let problem: String, remedy: String?

  /// An error.
  public init(_ problem: String, remedy: String? = nil) { (self.problem, self.remedy) = (problem, remedy) }

  /// One sentence from both.
  public var description: String { problem + (remedy.map { "; \($0)" } ?? "") }
}

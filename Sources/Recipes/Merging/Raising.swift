import Files
import Networks
import Weights

/// A merge that cannot be done as asked.
public struct MergeError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What was found, and what to do.
  public let problem: String, remedy: String

  init(_ problem: String, remedy: String) { (self.problem, self.remedy) = (problem, remedy) }

  /// One sentence from both.
  public var description: String { "\(problem); \(remedy)" }
}

/// Which layers another packing could hold better than their own.
extension LoadedModel {
  /// The names of the changed matrices that lie in fewer bits than `packing` has, and not as floats.
  func raisable(to packing: Packing) -> Set<String> {
    Set(changed.filter { !$0.value.packing.isFloat && $0.value.packing.bitsPerWeight < packing.bitsPerWeight }.keys)
  }

  /// `packing` for those of the layers `lost` that lie in fewer bits; the others keep their own.
  ///
  /// - Throws: a ``MergeError`` naming the first layer whose rows its blocks do not divide.
  func raising(_ lost: [String], to packing: Packing) throws -> [String: Packing] {
    let raisable = raisable(to: packing), weights = changed
    var raised: [String: Packing] = [:]
    for name in lost where raisable.contains(name) {
      guard let weight = weights[name] else { continue }
      do { try packing.check(rows: weight.rows, columns: weight.columns) } catch {
        throw MergeError(
          "layer '\(name)' cannot be raised: \(error)",
          remedy: "raise to q8_0, whose blocks of 32 divide every packed row")
      }
      raised[name] = packing
    }
    return raised
  }

  /// The matrices that carry an adapter, by name.
  private var changed: [String: FrozenWeight] {
    var copy = network, weights: [String: FrozenWeight] = [:]
    copy.forEachLinear { if $1.adapter != nil { weights[$0] = $1.base.weight } }
    copy.forEachEmbedding { if $1.adapter != nil { weights[$0] = $1.base.weight } }
    return weights
  }
}

extension MergeJob {
  /// Refuses what would fail, or mean nothing, after the work: layers raised to fewer bits than they have, and packings
  /// that a GGUF file at `path` has no type for.
  ///
  /// - Throws: a ``MergeError`` that says so.
  public func check(_ model: LoadedModel, to path: String) throws {
    if let raise, format != .full, model.raisable(to: raise).isEmpty {
      throw MergeError(
        "no changed layer lies in fewer bits than \(raise.name)", remedy: "leave --raise out, or choose more bits")
    }
    guard path.hasSuffix(".gguf") else { return }
    if let raise, raise.gguf == nil {
      throw MergeError("packing \(raise.name) has no GGUF type", remedy: "raise to q8_0, or write a folder")
    }
    var copy = model.network, strangers: [(name: String, packing: Packing, isChanged: Bool)] = []
    func note(_ name: String, _ weight: FrozenWeight, _ isChanged: Bool) {
      if weight.packing.gguf == nil { strangers.append((name, weight.packing, isChanged)) }
    }
    copy.forEachLinear { note($0, $1.base.weight, $1.adapter != nil) }
    copy.forEachEmbedding { note($0, $1.base.weight, $1.adapter != nil) }
    guard let first = strangers.first(where: { format != .full || !$0.isChanged }) else { return }
    let helps = strangers.allSatisfy(\.isChanged) ? "write a folder, or merge with --format full" : "write a folder"
    throw MergeError(
      "layer '\(first.name)' stays packed as \(first.packing.name), which has no GGUF type", remedy: helps)
  }
}

extension Packing {
  /// Whether numbers lie one by one rather than in blocks.
  var isFloat: Bool { [.float32, .float16, .bfloat16].contains(self) }
}

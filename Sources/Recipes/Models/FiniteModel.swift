import Autodiff
import Files
import Networks
import Weights

/// Telling which tensor of a model holds a number that is not finite.
extension LoadedModel {
  /// A tensor with such a number: its name, and what it holds where.
  private struct Stray {
    let name: String, problem: String

    init(_ name: String, _ value: Float, _ place: String) {
      (self.name, problem) = (name, "holds \(value.isNaN ? "nan" : "\(value)") in \(place)")
    }
  }

  /// What is wrong with a model of which `outputs` are not finite: the first tensor that holds such a number, if one does.
  ///
  /// - Complexity: reads all weights up to that tensor, a few rows at a time.
  func notFinite(_ outputs: String) -> FileError {
    guard let stray = firstStray() else {
      return FileError(
        checkpoint.path, "\(outputs) are not finite, though its weights are: they are too large",
        remedy: "fetch or make the model again; an adapter may be too strong for it")
    }
    return FileError(
      checkpoint.path, at: "tensor '\(stray.name)'", "\(stray.problem), so \(outputs) are not finite",
      remedy: "fetch or make the model again")
  }

  /// Refuses a model with a number that is not finite, which no packing could hold and no copy mend.
  ///
  /// - Throws: a ``FileError`` naming the first such tensor.
  func requireFiniteWeights() throws {
    guard let stray = firstStray() else { return }
    throw FileError(
      checkpoint.path, at: "tensor '\(stray.name)'", "\(stray.problem); only finite values can be packed",
      remedy: "fetch or make the model again")
  }

  /// Refuses a model that computes what is no number.
  ///
  /// - Throws: a ``FileError`` naming the model, and the tensor to blame, where `logits` are not all finite.
  public func require(finite logits: Tensor, as name: String = "its logits") throws {
    guard logits.isFinite else { throw notFinite(name) }
  }

  private func firstStray() -> Stray? {
    var copy = network, stray: Stray?
    copy.forEachParameter { name, parameter in
      guard stray == nil, let found = parameter.value.firstNotFinite else { return }
      stray = Stray(name, found.value, "place \(found.index)")
    }
    func look(_ name: String, _ weight: FrozenWeight) {
      guard stray == nil, let found = weight.firstNotFinite else { return }
      stray = Stray(name + ".weight", found.value, "row \(found.row), column \(found.column)")
    }
    copy.forEachEmbedding { look($0, $1.base.weight) }
    copy.forEachLinear { look($0, $1.base.weight) }
    return stray
  }
}

import Autodiff
import Networks

/// The entries of a matrix dealt to some number of parts, so that each belongs to exactly one.
struct Partition: Sendable {
  /// How many parts there are.
  let parts: Int
  /// The part of each entry, row after row: one byte an entry, however many parts there are.
  private let owners: [UInt8]

  /// Deals `count` entries by a permutation drawn from `random`; parts differ in size by one at most.
  ///
  /// Ranks and bounds are whole numbers: scores drawn as floats can tie at a bound, and put an entry into two parts.
  init(_ count: Int, into parts: Int, from random: RandomKey) {
    require(parts >= 1 && parts <= 256, "a partition into \(parts) parts")
    var owners = [UInt8](repeating: 0, count: count)
    let order = random.permutation(count)
    for part in 0..<parts {
      for rank in part * count / parts..<(part + 1) * count / parts { owners[order[rank]] = UInt8(part) }
    }
    (self.parts, self.owners) = (parts, owners)
  }

  /// mask ⊙ x with the mask of `part`; the gradient is cut by the same mask, which is never held as floats.
  func masking(_ x: Tensor, to part: Int) -> Tensor {
    Tensor(cut(x, part), of: [x]) { gradient, inflow in inflow.add(0, cut(gradient, part)) }
  }

  private func cut(_ x: Tensor, _ part: Int) -> Tensor {
    require(x.count == owners.count, "a partition of \(owners.count) entries for a tensor of shape \(x.shape)")
    return x.withValues { values in
      Tensor(shape: x.shape) { place in
        for i in values.indices { place[i] = owners[i] == UInt8(part) ? values[i] : 0 }
      }
    }
  }
}

/// A trainable matrix, whole or in N modules of which each training pass uses one, as MoSA trains it.
///
///     module j:  Wⱼ = W₀ + maskⱼ ⊙ D          merged:  W = W₀ + D / N
///
/// The paper keeps N dense copies of W₀ and multiplies the gradient of copy j by maskⱼ. Since the masks part the
/// entries, copy j only ever leaves W₀ inside maskⱼ, where no other copy does: one matrix D = Σⱼ maskⱼ ⊙ (Wⱼ − W₀) holds
/// all copies, and their mean, to which they are merged, is W₀ + D / N. The gradient at D is maskⱼ ⊙ ∂L/∂Wⱼ, with
/// the module that was drawn. So this is the same method in 2 matrices and a byte an entry instead of N matrices, and its
/// optimiser's memory is that of one matrix.
///
/// What an optimiser does to entries that were not drawn is what it does at a gradient of zero: Adam's momentum goes on,
/// as in the authors' code. Weight decay pulls D, and so the module, to W₀ and not to zero as there; thus a module
/// equals W₀ outside its mask whatever the optimiser.
struct SplitMatrix: Module {
  /// W, which learns, where the matrix is whole; W₀, which does not, where it is in modules.
  private(set) var weight: Parameter
  /// D; nil where the matrix is whole.
  private(set) var change: Parameter?
  let partition: Partition?

  /// A matrix that starts at `start` and learns in `parts` modules.
  init(_ start: Tensor, role: Role, parts: Int, random: RandomKey) {
    guard parts > 1 else {
      (weight, change, partition) = (Parameter(start, role: role), nil, nil)
      return
    }
    weight = Parameter(start, role: role, isTrainable: false)
    change = Parameter(.zeros(start.shape), role: role)
    partition = Partition(start.count, into: parts, from: random)
  }

  /// The matrix of module `part`; the merged one where `part` is nil.
  func callAsFunction(_ part: Int?) -> Tensor {
    guard let change, let partition else { return weight.value }
    guard let part else { return weight.value + (1 / Float(partition.parts)) * change.value }
    return weight.value + partition.masking(change.value, to: part)
  }

  /// A module drawn evenly from `random`; nil outside training and where the matrix is whole.
  func draw(_ random: RandomKey?) -> Int? {
    guard let partition, var random = random?["module"].generator else { return nil }
    return Int.random(in: 0..<partition.parts, using: &random)
  }

  /// The merged matrix, whole.
  var settled: SplitMatrix {
    guard partition != nil else { return self }
    return SplitMatrix(self(nil).detached, role: weight.role, parts: 1, random: RandomKey(seed: 0))
  }

  mutating func visit(_ visitor: Visitor) {
    visitor("weight", &weight)
    visitor("change", &change)
  }
}

/// How a recipe splits the two matrices of an adapter.
public struct Splits: Sendable, Equatable {
  /// N, the modules of a split matrix; 1 for none.
  public var count: Int
  /// Which of the two matrices is whole all the same.
  public var share: Share
  /// The weight of the divergence between the two passes of a step.
  public var consistency: Double

  /// The matrix that all modules share.
  public enum Share: String, Sendable, CaseIterable {
    /// The one that reads the input.
    case down
    /// The one that writes the output.
    case up
    /// Neither: each is split, and its module drawn by itself.
    case none
  }

  /// Splits as given; by default none.
  public init(_ count: Int = 1, share: Share = .down, consistency: Double = 1) {
    (self.count, self.share, self.consistency) = (count, share, consistency)
  }

  /// The recipe keys.
  static let options = ["splits", "share", "consistency"]

  /// What `settings` choose, with `standard` modules where they say nothing.
  init(_ settings: AdapterSettings, standard: Int) throws {
    count = try settings.option("splits", standard, expected: "a whole number from 1 to 256") {
      Int($0).flatMap { (1...256).contains($0) ? $0 : nil }
    }
    share = try settings.option("share", .down, expected: "down, up or none", Share.init(rawValue:))
    consistency = try settings.option("consistency", 1, expected: "a number ≥ 0") {
      Double($0).flatMap { $0 >= 0 && $0.isFinite ? $0 : nil }
    }
  }

  /// The modules of the matrix that reads the input, and of the one that writes the output.
  var down: Int { share == .down ? 1 : count }
  /// See ``down``.
  var up: Int { share == .up ? 1 : count }
  /// The weight with which a run pulls two passes together; nil where one pass is enough.
  var passes: Double? { count > 1 && consistency > 0 ? consistency : nil }

  /// Refuses more modules than a matrix has entries.
  func check(_ method: String, at site: String, down downCount: Int, up upCount: Int) throws {
    guard down <= downCount && up <= upCount else {
      throw GraftError(
        "adapter '\(method)' cannot split the \(min(downCount, upCount)) numbers of a matrix at '\(site)' into \(count) modules; lower splits",
        key: "splits"
      )
    }
  }
}

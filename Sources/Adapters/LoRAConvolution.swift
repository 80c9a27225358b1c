import Autodiff
import Networks
import Weights

/// LoRA beside a convolution: fewer filters of the same size, then a mixture of them at each place.
///
///     y = W ⊛ x + b + s B (A ⊛ dropout(x))
///
/// `A` `[r, inputs, height, width]` is drawn evenly from ±1/√(inputs · height · width), moved over `x` as `W` is; `B`
/// `[outputs, r, 1, 1]` is zero. Folding adds `s B A`, read as matrices, to `W`. As PEFT has it, and under its names.
public struct LoRAConvolution: Adapter {
  /// What recipes call it.
  public static let method = "lora"
  /// Always.
  public static func merging(_ configuration: LoRA.Configuration) -> Merging { .exact }

  /// What `settings` choose for the convolution named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> LoRA.Configuration {
    try LoRA.configuration(settings, at: site)
  }

  var a: Parameter
  var b: Parameter
  var bias: Parameter?
  let scale: Float
  private let dropout: Float
  private let site: String

  /// A fresh adapter, which changes nothing.
  ///
  /// - Throws: a ``GraftError`` for a convolution in groups, whose channels a shared `A` would mix, and for a start that
  ///   reads a matrix.
  public init(on base: inout FrozenConvolution, _ configuration: LoRA.Configuration, _ setup: Setup) throws {
    guard base.groups == 1 else {
      throw GraftError(
        "'\(setup.site)' is a convolution in \(base.groups) groups, for which a low-rank change has no form; leave it out",
        key: "target_modules", entry: setup.site)
    }
    guard configuration.start.isBlank else {
      throw GraftError("its init has no form for the convolution '\(setup.site)'; use default", key: "init")
    }
    let random = setup.random["lora_A"], inputs = base.weight.columns
    let shape: Shape = [configuration.rank, base.inputs, base.kernelHeight, base.kernelWidth]
    let bound = 1 / Float(inputs).squareRoot()
    a = Parameter(
      configuration.start == .gaussian
        ? .normal(shape, deviation: 1 / Float(configuration.rank), from: random)
        : .uniform(shape, in: -bound..<bound, from: random), role: .factorA)
    b = Parameter(.zeros([base.outputs, configuration.rank, 1, 1]), role: .factorB)
    bias = configuration.hasBias ? Parameter(.zeros([base.outputs]), role: .bias) : nil
    (scale, dropout, site) = (configuration.scale, configuration.dropout, setup.site)
  }

  /// The convolution's output with the low-rank branch.
  public func callAsFunction(_ x: Tensor, over base: FrozenConvolution, _ context: Context) -> Tensor {
    let mask = dropoutMask(x.shape, dropout, context.random?[site])
    guard mask == nil, bias == nil else { return base(x) + branch(x, mask, over: base) }
    return base.changed(x, a: a.value, b: b.value, scale: scale)
  }

  /// s B (A ⊛ dropout(x)), and its bias.
  private func branch(_ x: Tensor, _ mask: (@Sendable () -> Tensor)?, over base: FrozenConvolution) -> Tensor {
    let hidden = base.convolved(mask.map { x * $0() } ?? x, with: a.value)
    return scale * conv2d(hidden, weight: b.value, bias: bias?.value)
  }

  /// The base with `s B A` added to its filters.
  public func merged(into base: FrozenConvolution, _ context: Context) -> FrozenConvolution {
    var folded = base
    folded.weight = FrozenWeight(base.weight.unpacked() + change)
    if let bias {
      let own = base.bias?.value ?? .zeros([base.outputs])
      folded.bias = .frozen(own.detached + scale * bias.value.detached)
    }
    return folded
  }

  /// `s B A`, `[outputs, inputs · height · width]`.
  var change: Tensor {
    let rank = a.value.shape[0]
    return scale
      * matmul(
        b.value.detached.reshaped([b.value.shape[0], rank]), a.value.detached.reshaped([rank, a.value.count / rank]))
  }

  /// Presents the factors under PEFT's names.
  public mutating func visit(_ visitor: Visitor) {
    visitor("lora_A.weight", &a)
    visitor("lora_B.weight", &b)
    visitor("lora_B.bias", &bias)
  }
}

/// DoRA over a convolution: each filter's direction by ``LoRAConvolution``, its length learned.
///
///     y = m / ‖W + s B A‖ ⊙ ((W + s B A) ⊛ x) + b
///
/// Norms are of whole filters, and count as constants in the gradient. `m` `[1, outputs, 1, 1]` starts at ‖W‖. Dropout
/// acts on what departs from the base, as in ``DoRA``.
public struct DoRAConvolution: Adapter {
  /// What recipes call it.
  public static let method = "dora"
  /// Always.
  public static func merging(_ configuration: LoRA.Configuration) -> Merging { .exact }
  /// What `settings` choose for the convolution named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> LoRA.Configuration {
    try DoRA.configuration(settings, at: site)
  }

  var lora: LoRAConvolution
  var magnitude: Parameter

  /// A fresh adapter, which changes nothing.
  public init(on base: inout FrozenConvolution, _ configuration: LoRA.Configuration, _ setup: Setup) throws {
    lora = try LoRAConvolution(on: &base, configuration, setup)
    magnitude = Parameter(Self.norms(base.weight.unpacked()).reshaped([1, base.outputs, 1, 1]), role: .magnitude)
  }

  /// The convolution's output with changed directions and lengths.
  public func callAsFunction(_ x: Tensor, over base: FrozenConvolution, _ context: Context) -> Tensor {
    var plain = base
    plain.bias = nil
    let turned = Self.norms(base.weight.unpacked() + lora.change).reshaped([1, base.outputs, 1, 1])
    let y = (magnitude.value / turned) * lora(x, over: plain, context)
    return base.bias.map { y + $0.value.reshaped([1, base.outputs, 1, 1]) } ?? y
  }

  /// The base with its filters turned and rescaled.
  public func merged(into base: FrozenConvolution, _ context: Context) -> FrozenConvolution {
    let turned = base.weight.unpacked() + lora.change
    var folded = base
    folded.weight = FrozenWeight(
      turned * (magnitude.value.detached.reshaped([base.outputs, 1]) / Self.norms(turned)))
    return folded
  }

  private static func norms(_ filters: Tensor) -> Tensor {
    (filters * filters).rowSums.squareRoot.reshaped([filters.shape[0], 1])
  }

  /// Presents the parameters under PEFT's names.
  public mutating func visit(_ visitor: Visitor) {
    lora.visit(visitor)
    visitor("lora_magnitude_vector", &magnitude)
  }
}

/// Full fine-tuning of a convolution: the filters themselves learn.
public struct FullConvolution: Adapter {
  /// What recipes call it.
  public static let method = "full"
  /// Always.
  public static func merging(_ configuration: Full.Nothing) -> Merging { .exact }
  /// Nothing.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Full.Nothing {
    Full.Nothing()
  }

  var weight: Parameter

  /// Filters that start as the base's.
  public init(on base: inout FrozenConvolution, _ configuration: Full.Nothing, _ setup: Setup) {
    weight = Parameter(
      base.weight.unpacked().reshaped(
        [base.outputs, base.inputs / base.groups, base.kernelHeight, base.kernelWidth]))
  }

  /// The output by the learned filters.
  public func callAsFunction(_ x: Tensor, over base: FrozenConvolution, _ context: Context) -> Tensor {
    let y = base.convolved(x, with: weight.value)
    return base.bias.map { y + $0.value.reshaped([1, base.outputs, 1, 1]) } ?? y
  }

  /// The base with the learned filters in place of its own.
  public func merged(into base: FrozenConvolution, _ context: Context) -> FrozenConvolution {
    var learned = base
    learned.weight = FrozenWeight(weight.value.detached.reshaped([base.outputs, base.weight.columns]))
    return learned
  }

  /// Presents the filters under their checkpoint name.
  public mutating func visit(_ visitor: Visitor) { visitor("weight", &weight) }
}

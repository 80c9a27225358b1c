import Autodiff
import Networks

/// An adapter whose change of a layer is that of one plain LoRA, once its base and the task are known.
///
/// Whoever reads LoRA can then use it: PEFT, a GGUF adapter, a model that serves one task.
public protocol LoRAEquivalent: LowRankChange {
  /// The LoRA that computes the same outside training over this very `base`, for the task of `context` where the task
  /// matters.
  ///
  /// Its bias, where it has one, is what folding would add to the base's.
  func plainLoRA(over base: FrozenLinear, _ context: Context) -> LoRA
}

extension LoRAEquivalent {
  /// None without the base.
  public var lowRankFactors: LowRankFactors? { nil }
  /// Those of the plain LoRA; none where the task matters and `context` names none.
  public func lowRankFactors(over base: FrozenLinear, _ context: Context) -> LowRankFactors? {
    if self is any TaskRouted, context.task == nil { return nil }
    return plainLoRA(over: base, context).lowRankFactors
  }
}

/// An adapter that mixes what it has learned anew for each task.
public protocol TaskRouted: LoRAEquivalent {
  /// The tasks it tells apart, numbered from 0.
  var tasks: Int { get }
}

extension AdapterSettings {
  /// The number of the task of that name; a number stands for itself where no task has it for a name.
  public func task(named name: String) -> Int? {
    tasks.firstIndex(of: name) ?? Int(name).flatMap { tasks.indices.contains($0) ? $0 : nil }
  }
}

extension Module {
  /// The same with plain LoRA in the place of every adapter that amounts to one; `context` names the task where the task
  /// matters.
  public func withPlainLoRA(_ context: Context = Context()) -> Self {
    var copy = self
    copy.forEachLinear { _, layer in
      if let adapter = layer.adapter as? any LoRAEquivalent {
        layer.adapter = adapter.plainLoRA(over: layer.base, context)
      }
    }
    return copy
  }

  /// The same as one task sees it: plain LoRA in the place of every adapter that routes by task.
  ///
  /// What is left computes the same for any context, so it can be folded, exported and used to write.
  public func specialised(to task: Int) -> Self {
    var copy = self
    copy.forEachLinear { _, layer in
      if let adapter = layer.adapter as? any TaskRouted {
        layer.adapter = adapter.plainLoRA(over: layer.base, Context(task: task))
      }
    }
    return copy
  }

  /// Whether any adapter needs to be told the task.
  public var routesByTask: Bool {
    var copy = self
    var found = false
    copy.forEachLinear { _, layer in found = found || layer.adapter is any TaskRouted }
    return found
  }
}

extension AdaptedLinear {
  /// The factors of its adapter's change, if that is a product of two thin matrices and nothing else.
  public var lowRankFactors: LowRankFactors? {
    guard !(adapter is any TaskRouted), let change = adapter as? any LowRankChange,
      let factors = change.lowRankFactors(over: base, Context()), factors.bias == nil
    else { return nil }
    return factors
  }
}

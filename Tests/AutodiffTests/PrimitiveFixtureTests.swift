import Autodiff
import Files
import Testing

/// Against PyTorch 2.13.0 on 6 × 11 logits: `primitives.safetensors` holds its inputs and results.
struct PrimitiveFixtureTests {
  private func entry(_ name: String) throws -> Tensor {
    let folder = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
    let entry = try Safetensors(folder + "/Fixtures/primitives/primitives.safetensors").entry(name)
    return Tensor(try entry.floats(), shape: Shape(entry.shape))
  }

  static let functions: [(name: String, function: @Sendable (Tensor) -> Tensor)] = [
    ("gelu", { $0.gelu }), ("gelu_tanh", { $0.geluTanh }), ("silu", { $0.silu }), ("softmax", { $0.softmax }),
    ("log_softmax", { $0.softmax.logarithm }),
  ]

  @Test(arguments: functions.indices)
  func `Activations agree with PyTorch`(_ index: Int) throws {
    let (name, function) = Self.functions[index]
    // Both round to Float; exp differs from libm's by an ulp or two.
    expectClose(function(try entry("logits")), try entry(name), 1e-6)
  }

  @Test func `Losses agree with PyTorch`() throws {
    let logits = try entry("logits"), labels = try entry("target").values.map { Int32($0) }
    let scored = Float(labels.count { $0 != ignoredLabel }), sum = crossEntropySum(logits, labels: labels)
    expectClose(sum, try entry("ce_sum"), 1e-6)
    expectClose((1 / scored) * sum, try entry("ce_mean"), 1e-6)
  }

  @Test func `Norms agree with PyTorch`() throws {
    let logits = try entry("logits"), one = Tensor.filled(1, [11]), zero = Tensor.zeros([11])
    expectClose(layerNorm(logits, weight: one, bias: zero, epsilon: 1e-5), try entry("layer_norm"), 1e-6)
    expectClose(rmsNorm(logits, weight: one, epsilon: 1e-6), try entry("rms_norm"), 1e-6)
  }
}

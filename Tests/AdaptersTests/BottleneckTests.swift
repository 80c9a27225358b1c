import Autodiff
import Files
import Foundation
import Networks
import Testing

@testable import Adapters

private let styles = Bottleneck.Style.allCases
private let training = Context(random: RandomKey(seed: 20))

struct BottleneckTests {
  private let width = 7
  private let h = Tensor.normal([5, 7], from: RandomKey(seed: 1))
  private let turn = 0.5 * Tensor.normal([7, 7], from: RandomKey(seed: 2))

  /// A branch that is no identity.
  private func branch(_ h: Tensor) -> Tensor { matmul(h, turn) + 0.25 }

  private func fresh(_ style: Bottleneck.Style, _ splits: Splits = Splits(), dropout: Float = 0) throws -> Bottleneck {
    let configuration = Bottleneck.Configuration(rank: 3, style: style, scale: 0.5, dropout: dropout, splits: splits)
    return try Bottleneck(width: width, configuration, Setup(site: "mlp", random: RandomKey(seed: 3)))
  }

  /// One whose trainable numbers are all far from where they started.
  private func trained(_ style: Bottleneck.Style, _ splits: Splits = Splits(), dropout: Float = 0) throws -> Bottleneck
  {
    var adapter = try fresh(style, splits, dropout: dropout)
    adapter.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      parameter.value = .normal(parameter.value.shape, from: RandomKey(seed: 5)[name])
    }
    return adapter
  }

  @Test(arguments: styles, [1, 4]) func `A fresh adapter leaves the block as it is`(
    _ style: Bottleneck.Style, _ parts: Int
  ) throws {
    let adapter = try fresh(style, Splits(parts, share: .none), dropout: 0.3), expected = h + branch(h)
    #expect(adapter(h, Context(), branch: branch) == expected)
    #expect(adapter(h, training, branch: branch) == expected)
  }

  @Test(arguments: styles) func `Each style is its equation`(_ style: Bottleneck.Style) throws {
    let adapter = try trained(style)
    var values: [String: [Double]] = [:]
    for parameter in adapter.trainableParameters { values[parameter.name] = parameter.value.values.map(Double.init) }
    let matrices = ["adapter.down.weight", "adapter.down.bias", "adapter.up.weight", "adapter.up.bias"]
    try #require(matrices.allSatisfy { values[$0] != nil })
    let f = branch(h).values.map(Double.init), stream = h.values.map(Double.init)
    var expected: [Double] = []
    for row in 0..<5 {
      let (h, f) = (Array(stream[row * 7..<row * 7 + 7]), Array(f[row * 7..<row * 7 + 7]))
      let sum = zip(h, f).map(+)
      switch style {
      case .adaptformer: expected += zip(sum, change(of: h, style, values)).map(+)
      case .pfeiffer: expected += zip(sum, change(of: f, style, values)).map(+)
      case .houlsby: expected += zip(sum, change(of: sum, style, values)).map(+)
      }
    }
    let ours = adapter(h, Context(), branch: branch).values
    // Some 30 operations on numbers up to about 20, each rounded to 2⁻²⁴ of them.
    for (mine, theirs) in zip(ours, expected) { #expect(abs(Double(mine) - theirs) < 3e-5) }
  }

  /// s Up(activation(Down(norm(x)))) in Double, one row, written from the equation alone.
  private func change(of x: [Double], _ style: Bottleneck.Style, _ values: [String: [Double]]) -> [Double] {
    var x = x
    if style != .houlsby {
      let mean: Double = x.reduce(0, +) / 7
      let variance: Double = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 7
      let (weight, bias) = (values["adapter.norm.weight"]!, values["adapter.norm.bias"]!)
      let deviation = (variance + 1e-6).squareRoot()
      for i in x.indices { x[i] = (x[i] - mean) / deviation * weight[i] + bias[i] }
    }
    func product(_ name: String, _ x: [Double], rows: Int) -> [Double] {
      let weight = values[name + ".weight"]!
      var result = values[name + ".bias"]!
      for row in 0..<rows {
        for column in x.indices { result[row] += weight[row * x.count + column] * x[column] }
      }
      return result
    }
    let active = product("adapter.down", x, rows: 3).map { (v: Double) -> Double in
      switch style {
      case .adaptformer: v * 0.5 * (1 + erf(v / 2.0.squareRoot()))
      case .pfeiffer: max(0, v)
      case .houlsby: v / (1 + exp(-v))
      }
    }
    return product("adapter.up", active, rows: 7).map { 0.5 * $0 }
  }

  @Test(arguments: styles, [1, 3]) func `Every derivative is what central differences say`(
    _ style: Bottleneck.Style, _ parts: Int
  ) throws {
    let adapter = try trained(style, Splits(parts, share: .none), dropout: 0.25)
    // A rectifier bends at 0, so that an entry's difference may straddle it: only the direction's size is held there.
    let tolerance = style == .pfeiffer ? 0.05 : 2e-3
    expectDerivatives(of: adapter, tolerance: tolerance) { $0(h, training, branch: branch) }
    expectDerivatives(of: adapter, tolerance: tolerance) { $0(h, Context(), branch: branch) }
  }

  @Test(arguments: styles) func `The stream's own derivative goes through branch and adapter`(
    _ style: Bottleneck.Style
  ) throws {
    struct Stream: Module {
      var h: Parameter
      mutating func visit(_ visitor: Visitor) { visitor("h", &h) }
    }
    let adapter = try trained(style)
    expectDerivatives(of: Stream(h: Parameter(h)), tolerance: style == .pfeiffer ? 0.05 : 2e-3) {
      adapter($0.h.value, Context(), branch: branch)
    }
  }

  /// ViT-B, r = 64: a norm of 1,536, Down of 49,152 + 64, Up of 49,152 + 768.
  @Test func `A block of ViT-B has 100,672 numbers, and splitting adds but its biases`() throws {
    func count(_ splits: Splits) throws -> Int {
      let c = Bottleneck.Configuration(rank: 64, style: .adaptformer, scale: 0.1, splits: splits)
      let adapter = try Bottleneck(width: 768, c, Setup(site: "mlp", random: RandomKey(seed: 1)))
      return adapter.trainableParameters.reduce(0) { $0 + $1.value.count }
    }
    #expect(try count(Splits()) == 100_672 && 12 * count(Splits()) == 1_208_064)
    #expect(try count(Splits(4)) == 100_672 + 3 * 768)
    #expect(try count(Splits(4, share: .up)) == 100_672 + 3 * 64)
    #expect(try count(Splits(4, share: .none)) == 100_672 + 3 * (768 + 64))
  }

  @Test(arguments: Splits.Share.allCases) func `What is kept is the mean of the modules, and computes the same`(
    _ share: Splits.Share
  ) throws {
    let adapter = try trained(.adaptformer, Splits(3, share: share)), kept = adapter.settled
    #expect(kept(h, Context(), branch: branch) == adapter(h, Context(), branch: branch))
    #expect(
      kept.trainableParameters.map(\.name)
        == (try fresh(.adaptformer)).trainableParameters.map(\.name))
    #expect(kept.trainableParameters.map(\.role) == [.norm, .norm, .factorA, .bias, .factorB, .bias])
    // Once kept, nothing is drawn any more.
    #expect(kept(h, training, branch: branch) == kept(h, Context(), branch: branch))
    let biases = try #require(adapter.trainableParameters.first { $0.name == "adapter.up.bias" }).value
    let mean = try #require(kept.trainableParameters.first { $0.name == "adapter.up.bias" }).value
    if share == .up {
      #expect(mean == biases)
    } else {
      expectWithin(mean, (1.0 / 3) * (biases.rows(0..<1) + biases.rows(1..<2) + biases.rows(2..<3)).reshaped([7]), 1e-6)
    }
  }

  /// The mean over the modules of Up's output is the merged Up's, bias included, Up being linear.
  @Test func `With Down shared, the block's output is the expectation of the modules'`() throws {
    let adapter = try trained(.adaptformer, Splits(2))
    var seen: [[Float]: Tensor] = [:]
    for seed in 0..<30 {
      let y = adapter(h, Context(random: RandomKey(seed: UInt64(seed))), branch: branch)
      seen[y.values] = y
    }
    #expect(seen.count == 2)
    let sum = seen.values.reduce(Tensor.zeros([5, 7])) { $0 + $1 }
    expectWithin(0.5 * sum, adapter(h, Context(), branch: branch), 2e-5)
  }

  @Test(arguments: [("llama-untied", "mlp", "self_attn"), ("gpt2", "mlp", "attn")])
  func `A folder holds the merged adapter, and gives the same logits to the bit`(
    _ name: String, _ mlp: String, _ attention: String
  ) throws {
    let base = try Checkpoint("\(fixtures)/models/\(name)").model(),
      batch = TokenBatch([[3, 17, 29, 40, 55], [9, 8]])
    for (style, targets) in [
      ("adaptformer", GraftPlan.Targets.allLinear), ("houlsby", .names([mlp, attention])),
    ] {
      var model = base
      var plan = GraftPlan(method: "bottleneck", settings: AdapterSettings(rank: 4, alpha: 2), targets: targets)
      plan.settings.options = ["style": style, "splits": "3", "share": "none"]
      let report = try model.graft(plan, random: RandomKey(seed: 6))
      #expect(report.sites.allSatisfy { $0.hasSuffix(mlp) || style == "houlsby" } && !report.sites.isEmpty)
      #expect(model.logits(batch) == base.logits(batch))
      model.forEachParameter { name, parameter in
        guard parameter.isTrainable else { return }
        parameter.value = .normal(parameter.value.shape, deviation: 0.3, from: RandomKey(seed: 7)[name])
      }
      let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
      defer { try? FileManager.default.removeItem(atPath: folder) }
      try AdapterFolder.save(model, PEFTConfiguration(plan, baseModel: nil), to: folder)
      var again = base
      let configuration = try AdapterFolder.load(folder, onto: &again)
      #expect(configuration.plan.settings.options == ["style": style])
      #expect(again.logits(batch) == model.logits(batch))
      #expect(again.logits(batch) != base.logits(batch))
    }
  }

  @Test func `Writing by the cache gives the tokens of whole passes`() throws {
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    var plan = GraftPlan(method: "bottleneck", settings: AdapterSettings(rank: 4, alpha: 4))
    plan.settings.options = ["splits": "2"]
    try model.graft(plan, random: RandomKey(seed: 6))
    model.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      parameter.value = .normal(parameter.value.shape, deviation: 0.3, from: RandomKey(seed: 7)[name])
    }
    var ids: [Int32] = [3, 17, 29, 40]
    let written = try #require(model as? any LanguageModel).generate(after: ids, limit: 6, stop: []) { _ in true }
    for token in written {
      #expect(Int32(model.logits(TokenBatch([ids])).rowArgmax.last!) == token)
      ids.append(token)
    }
    #expect(written.count == 6)
  }

  @Test func `What it cannot do is said`() throws {
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    func message(_ targets: [String], _ options: [String: String] = [:], start: String = "default") -> String {
      var plan = GraftPlan(method: "bottleneck", targets: .names(targets))
      (plan.settings.options, plan.settings.start) = (options, start)
      do { try model.graft(plan, random: RandomKey(seed: 1)) } catch { return "\(error)" }
      return ""
    }
    #expect(
      message(["mlp", "self_atn"])
        == "target_modules entry 'self_atn' matches none of the model's 4 branches; did you mean 'self_attn' (2 matches)?"
    )
    #expect(message(["q_proj"]).hasPrefix("adapter type 'bottleneck' stands around whole branches"))
    #expect(
      message(["mlp"], ["style": "swin"]) == "adapter.style 'swin' is not adaptformer, pfeiffer or houlsby")
    #expect(
      message(["mlp"], start: "gaussian") == "init 'gaussian' is not known to 'bottleneck'; expected default")
    #expect(
      GraftPlan(method: "bottleneck").foldingObjection
        == "adapter 'bottleneck' cannot be merged: its activation makes the change depend on the input")
    #expect(GraftPlan(method: "mosa").foldingObjection == nil && GraftPlan(method: "dora").foldingObjection == nil)
  }

  @Test func `A module that learns whole does so beside a block's adapter`() throws {
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    try model.graft(
      GraftPlan(method: "bottleneck", modulesToSave: ["lm_head"]), random: RandomKey(seed: 1))
    #expect(model.trainableParameters.contains { $0.name == "lm_head.weight" })
    #expect(model.trainableParameters.contains { $0.name == "model.layers.1.mlp.adapter.down.weight" })
  }
}

import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

/// LoRA and its kin on a 2 × 3 layer, worked in double precision with PEFT's definitions.
struct WorkedExampleTests {
  private let base = FrozenLinear(
    FrozenWeight(Tensor([1, 0, 2, 0, -1, 1], shape: [2, 3])), bias: Tensor([0.5, -0.5], shape: [2]))
  private let x = Tensor([1, 2, 3], shape: [1, 3])

  /// Rank 2, α = 4.
  private func settings(rankStabilised: Bool = false) -> AdapterSettings {
    var settings = AdapterSettings(rank: 2, alpha: 4)
    settings.isRankStabilised = rankStabilised
    return settings
  }

  private func lora(_ settings: AdapterSettings) -> LoRA {
    LoRA(
      a: Tensor([1, 2, 0, 0, 1, -1], shape: [2, 3]), b: Tensor([1, -1, 2, 0], shape: [2, 2]),
      scale: settings.scale(at: "x"), site: "x")
  }

  private func dora() throws -> DoRA {
    var base = base
    var adapter = try DoRA(
      on: &base, DoRA.configuration(settings(), at: "x"), Setup(site: "x", random: RandomKey(seed: 0)))
    adapter.lora.a.value = lora(settings()).a.value
    adapter.lora.b.value = lora(settings()).b.value
    return adapter
  }

  private func distance(_ tensor: Tensor, _ expected: [Float]) -> Float {
    tensor.count == expected.count
      ? zip(tensor.values, expected).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  @Test func `Low-rank adaptation`() {
    let adapter = lora(settings())
    #expect(adapter.change.values == [2, 2, 2, 4, 8, 0])
    #expect(adapter(x, over: base, Context()).values == [19.5, 20.5])
    #expect(adapter.merged(into: base, Context())(x).values == [19.5, 20.5])
  }

  @Test func `Rank stabilisation`() {
    let y = lora(settings(rankStabilised: true))(x, over: base, Context())
    #expect(distance(y, [24.470563, 28.784271]) < 4e-6)
  }

  @Test func `DoRA, and its gradients with the norm held fixed`() throws {
    let adapter = try dora()
    #expect(distance(adapter.magnitude.value, [2.236068, 1.414214]) < 1e-6)
    #expect(distance(adapter(x, over: base, Context()), [8.389321, 3.155631]) < 4e-6)
    #expect(distance(adapter.merged(into: base, Context())(x), [8.389321, 3.155631]) < 4e-6)
    let names = adapter.trainableParameters.map(\.name)
    let gradients = valueAndGradients(of: adapter) { $0(x, over: base, Context()).sum }.gradients
    let found = Dictionary(uniqueKeysWithValues: zip(names, gradients))
    #expect(distance(try #require(found["lora_magnitude_vector"]), [3.528211, 2.584921]) < 2e-6)
    #expect(distance(try #require(found["lora_B.weight"]), [4.152274, -0.830455, 1.740777, -0.348155]) < 3e-6)
    #expect(
      distance(
        try #require(found["lora_A.weight"]), [1.526765, 3.053531, 4.580296, -0.830455, -1.660910, -2.491364]) < 3e-6)
  }

  @Test func `LoRA of a table`() throws {
    var table = FrozenEmbedding(FrozenWeight(.zeros([3, 2])))
    var adapter = LoRAEmbedding(
      on: &table, try LoRAEmbedding.configuration(AdapterSettings(rank: 1, alpha: 1), at: "x"),
      Setup(site: "x", random: RandomKey(seed: 0)))
    adapter.a.value = Tensor([1, 0, 2], shape: [1, 3])
    adapter.b.value = Tensor([3, -1], shape: [2, 1])
    #expect(adapter.rows([0, 1, 2], over: table, Context()).values == [3, -1, 0, 0, 6, -2])
    #expect(adapter.merged(into: table, Context()).weight.unpacked().values == [3, -1, 0, 0, 6, -2])
  }
}

/// Numbers that papers and their repositories print for known models.
struct PublishedCountTests {
  /// The numbers an adapter of `family` trains on a layer `[outputs, inputs]`.
  private func count<A: Adapter<FrozenLinear>>(
    _ family: A.Type, _ outputs: Int, _ inputs: Int, rank: Int, _ options: [String: String] = [:], tasks: Int = 1
  ) throws -> Int {
    var base = FrozenLinear(FrozenWeight(.zeros([outputs, inputs])), bias: .zeros([outputs]))
    var settings = AdapterSettings(rank: rank, alpha: Double(rank))
    settings.options = options
    let adapter = try A(
      on: &base, A.configuration(settings, at: "x"), Setup(site: "x", random: RandomKey(seed: 0), tasks: tasks))
    return adapter.trainableParameters.reduce(0) { $0 + $1.value.count }
  }

  @Test func `LoRA of RoBERTa-base and of LLaMA-7B`() throws {
    #expect(try 24 * count(LoRA.self, 768, 768, rank: 8) == 294_912)
    let square = try count(LoRA.self, 4096, 4096, rank: 8)
    #expect(64 * square == 4_194_304)
    // Four square matrices and three of the feed-forward block, in 32 blocks.
    let wide = try count(LoRA.self, 11008, 4096, rank: 8)
    #expect(32 * (4 * square + 3 * wide) == 19_988_480)
    #expect(16 * 32 * (4 * square + 3 * wide) == 319_815_680)
    // INT2.1 of rank 32, with down_proj and without.
    #expect(4 * 32 * (4 * square + 3 * wide) == 79_953_920)
    #expect(4 * 32 * (4 * square + 2 * wide) == 64_487_424)
  }

  @Test func `Hydra of ViT-B, of CLIP ViT-B and of RoBERTa-base`() throws {
    let output = try count(Hydra.self, 768, 3072, rank: 2), projection = try count(Hydra.self, 768, 768, rank: 2)
    #expect(output + projection == 19_976 && 12 * (output + projection) == 239_712)
    #expect(12 * output == 147_504)
    let bare = try count(Hydra.self, 768, 3072, rank: 4, ["sequential_rank": "8", "branch_bias": "false"])
    #expect(12 * bare == 331_776)
  }

  @Test func `Skills and routers of T5-XL`() throws {
    /// The 288 matrices of attention and the 144 of the feed-forward blocks.
    func total(_ skills: Int, _ heads: Int, tasks: Int) throws -> Int {
      let options = ["skills": "\(skills)", "heads": "\(heads)"]
      return try 288 * count(MHR.self, 2048, 2048, rank: 1, options, tasks: tasks)
        + 144 * count(MHR.self, 5120, 2048, rank: 1, options, tasks: tasks)
    }
    let poly = try total(8, 1, tasks: 1), mhr = try total(8, 64, tasks: 1)
    #expect(poly == 17_694_720 + 3_456 && mhr == 17_694_720 + 221_184)
    #expect(try total(8, 64, tasks: 3) - mhr == 2 * 221_184)
    #expect(try 288 * count(LoRA.self, 2048, 2048, rank: 1) + 144 * count(LoRA.self, 5120, 2048, rank: 1) == 2_211_840)
  }

  @Test func `A square matrix trains as many channels as twice the rank of its LoRA`() throws {
    let site = Site(name: "a.o_proj", base: FrozenLinear(FrozenWeight(.zeros([2048, 2048]))))
    let chosen = try S2FT.plan([site], AdapterSettings(rank: 32), random: RandomKey(seed: 0))
    #expect(chosen["a.o_proj"]?.count == 64)
    #expect(64 * 2048 == 131_072)
    #expect(try count(LoRA.self, 2048, 2048, rank: 32) == 131_072)
  }
}

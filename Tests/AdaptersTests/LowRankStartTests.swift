import Autodiff
import Files
import Foundation
import Networks
import Testing
import Weights

@testable import Adapters

struct LowRankStartTests {
  private func settings(_ start: String, rank: Int = 4, alpha: Double = 8) -> AdapterSettings {
    var settings = AdapterSettings(rank: rank, alpha: alpha)
    settings.start = start
    return settings
  }

  private func lora(_ layer: AdaptedLinear) throws -> LoRA { try #require(layer.adapter as? LoRA) }

  @Test(arguments: ["pissa", "olora"])
  func `Products and residuals are PEFT's`(_ start: String) throws {
    // r = 4, s = 2; products forget the signs of vectors. PEFT's PiSSA products are up to 8e-6 off those of double
    // precision, because σ₄ and σ₅ nearly agree (1.1281 and 1.1255 in one layer).
    let bound: Float = start == "pissa" ? 1.6e-5 : 1e-6
    let golden = try Safetensors("\(fixtures)/inits/llama-untied.safetensors")
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    try model.graft(GraftPlan(method: "lora", settings: settings(start)), random: RandomKey(seed: 1))
    var compared = 0
    var failure: (any Error)?
    model.forEachLinear { name, layer in
      guard golden.names.contains("\(start).\(name).residual") else { return }
      do {
        let rest = Tensor(
          try golden.entry("\(start).\(name).residual").floats(), shape: [layer.base.outputs, layer.base.inputs])
        let change = Tensor(try golden.entry("\(start).\(name).scaled_BA").floats(), shape: rest.shape)
        #expect(distance(layer.base.weight.unpacked(), rest) < bound)
        #expect(distance(try lora(layer).change, change) < bound)
        compared += 1
      } catch { failure = error }
    }
    if let failure { throw failure }
    #expect(compared == 4)
  }

  @Test(
    arguments: [
      // what the output may differ by at the start: nothing where B is zero
      ("default", 0), ("gaussian", 0), ("eva", 0), ("orthogonal", 1e-5), ("pissa", 2e-5), ("pissa_niter_4", 2e-5),
      ("olora", 2e-5),
    ] as [(String, Float)])
  func `Every start but rounding starts at the base model`(_ start: String, _ bound: Float) throws {
    for (outputs, inputs) in [(12, 8), (8, 12)] {
      let specimen = LayerSpecimen(outputs: outputs, inputs: inputs)
      let layer = try specimen.adapted(LoRA.self, settings(start), LayerSpecimen.statistics(inputs))
      #expect(distance(layer(specimen.x, Context()), specimen.original(specimen.x)) <= bound)
      #expect(norm(try lora(layer).a.value) > 0.01)
    }
  }

  @Test(arguments: ["default", "gaussian", "orthogonal", "eva", "pissa", "pissa_niter_4", "olora", "loftq:int8-g32"])
  func `Trained, it folds, and its stored form computes the same over the stored base`(_ start: String) throws {
    let specimen = LayerSpecimen(outputs: 12, inputs: 32)
    let layer = try specimen.adapted(LoRA.self, settings(start), LayerSpecimen.statistics(32)).moved()
    let y = layer(specimen.x, Context())
    #expect(distance(layer.merged(Context())(specimen.x, Context()), y) < 2e-5)
    let isMoved = try #require(LowRankStart(start)).movesBase
    #expect(isMoved == (start.hasPrefix("pissa") || start == "olora"))
    // A rounded base is rounded again when the adapter is loaded; every other lies on disk as it was.
    var plain = AdaptedLinear(start.hasPrefix("loftq") ? layer.base : specimen.original)
    plain.adapter = layer.adapter?.stored
    #expect(distance(plain(specimen.x, Context()), y) <= (isMoved ? 2e-5 : 0))
    #expect(try lora(plain).a.value.shape == [isMoved ? 8 : 4, 32])
    let factors = try #require(try lora(layer).lowRankFactors)
    #expect(distance(factors.scale * matmul(factors.b, factors.a), try lora(plain).change) == 0)
  }

  @Test(arguments: ["pissa", "olora"])
  func `Its gradients are those of central differences`(_ start: String) throws {
    let specimen = LayerSpecimen(outputs: 5, inputs: 6)
    let layer = try specimen.adapted(LoRA.self, settings(start, rank: 2, alpha: 3)).moved()
    #expect(layer.gradientError(specimen.x) < 1e-3)
  }

  @Test func `PiSSA leaves a rest whose norm is the first singular value it did not take`() throws {
    let specimen = LayerSpecimen(outputs: 20, inputs: 16)
    let values = try singularValues(of: specimen.original.weight.unpacked()).values.values
    let rest = try specimen.adapted(LoRA.self, settings("pissa")).base.weight.unpacked()
    #expect(abs(try singularValues(of: rest).values.values[0] - values[4]) < 1e-5)
  }

  @Test func `Random passes come to the exact components`() throws {
    let specimen = LayerSpecimen(outputs: 60, inputs: 40)
    let exact = try lora(specimen.adapted(LoRA.self, settings("pissa"))).change
    func error(_ passes: Int) throws -> Double {
      norm(try lora(specimen.adapted(LoRA.self, settings("pissa_niter_\(passes)"))).change - exact) / norm(exact)
    }
    let errors = try [0, 4, 40].map(error)
    #expect(errors[0] > errors[1] && errors[1] > errors[2])
    // A flat spectrum, σ₅ / σ₄ near 1, is the hard case; forty passes still tell them apart.
    #expect(errors[2] < 0.01)
  }

  @Test func `LoftQ gives back the largest part of what rounding lost, whatever the scale`() throws {
    let specimen = LayerSpecimen(outputs: 24, inputs: 64), w = specimen.original.weight.unpacked()
    let lost = w - (try FrozenWeight(w, packing: .nf4(doubleQuantised: false))).unpacked()
    let values = try singularValues(of: lost).values.values
    for alpha in [4.0, 8, 1] {
      let layer = try specimen.adapted(LoRA.self, settings("loftq:nf4", alpha: alpha))
      #expect(layer.base.weight.packing == .nf4(doubleQuantised: false))
      let left = w - layer.base.weight.unpacked() - (try lora(layer).change)
      let expected = values.dropFirst(4).reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
      #expect(abs(norm(left) - expected) < 1e-4 * expected)
      #expect(norm(left) < 0.9 * norm(lost))
    }
  }

  @Test func `EVA reads the directions in which the inputs are strongest`() throws {
    let specimen = LayerSpecimen(outputs: 12, inputs: 10), statistics = LayerSpecimen.statistics(10)
    let moment = try #require(statistics.secondMoment)
    let a = try lora(specimen.adapted(LoRA.self, settings("eva"), statistics)).a.value
    let gram = matmul(a, a, transposingB: true)
    #expect(distance(gram, Tensor((0..<16).map { $0 % 5 == 0 ? 1 : 0 }, shape: [4, 4])) < 1e-5)
    // What passes through: the sum of the four largest eigenvalues.
    let through = matmul(matmul(a, moment), a, transposingB: true)
    let trace = (0..<4).reduce(Float(0)) { $0 + through.values[5 * $1] }
    let largest = try symmetricEigenvalues(of: moment).values.values.suffix(4).reduce(0, +)
    #expect(abs(trace - largest) < 1e-4 * largest)
    #expect(throws: GraftError.self) { try specimen.adapted(LoRA.self, settings("eva")) }
    #expect(try LoRA.statistics(settings("eva")) == .secondMoment)
    #expect(try LoRA.statistics(settings("pissa")) == [])
  }

  @Test func `Orthogonal rows leave both factors large and their product zero`() throws {
    let specimen = LayerSpecimen(outputs: 12, inputs: 8)
    let adapter = try lora(specimen.adapted(LoRA.self, settings("orthogonal")))
    #expect(norm(adapter.a.value) > 0.1 && norm(adapter.b.value) > 0.1)
    #expect(norm(adapter.change) < 1e-6)
    #expect(
      throws: GraftError("init 'orthogonal' needs an even rank; layer 'block.0.up' has 3", key: "init")
    ) { try specimen.adapted(LoRA.self, settings("orthogonal", rank: 3)) }
  }

  @Test(arguments: [false, true])
  func `Twice the rank keeps the scale of every layer`(_ isStabilised: Bool) {
    var settings = settings("pissa", rank: 6, alpha: 5)
    settings.isRankStabilised = isStabilised
    (settings.rankPattern, settings.alphaPattern) = (["q_proj": 3, "up_proj": 2], ["up_proj": 7, "o_proj": 9])
    let (method, plain) = LoRA.stored(settings)
    #expect(method == "lora" && plain.start == "default")
    for site in ["a.q_proj", "a.up_proj", "a.o_proj", "a.v_proj"] {
      #expect(plain.rank(at: site) == 2 * settings.rank(at: site))
      #expect(abs(plain.scale(at: site) / settings.scale(at: site) - 1) < 1e-6)
    }
    settings.start = "default"
    #expect(LoRA.stored(settings).settings == settings)
  }

  @Test func `Families that cannot start so say it`() throws {
    func message(_ body: () throws -> Void) -> String {
      do { try body(); return "no error" } catch { return "\(error)" }
    }
    #expect(
      message { _ = try DoRA.configuration(settings("pissa"), at: "x") }
        == "'dora' starts from the base itself; init 'pissa' is not known to it")
    #expect(
      message { _ = try LoRAEmbedding.configuration(settings("olora"), at: "model.embed_tokens") }
        == "init 'olora' has no form for the embedding 'model.embed_tokens'; leave it out of the targets")
    var packed = AdaptedLinear(
      FrozenLinear(try FrozenWeight(.normal([4, 64], from: RandomKey(seed: 1)), packing: .q4_0)))
    #expect(
      message {
        _ = try LoRA(
          on: &packed.base, LoRA.configuration(settings("loftq:nf4", rank: 2), at: "x"),
          Setup(site: "x", random: RandomKey(seed: 0)))
      }
        == "init 'loftq' starts from what rounding loses, and layer 'x' is packed as Q4_0 already; use a base of floats, or init: default"
    )
    let foreign = try JSON(
      parsing: #"{"peft_type": "LORA", "target_modules": ["q_proj"], "init_lora_weights": "pissa_niter_4"}"#)
    #expect(
      message { _ = try PEFTConfiguration(json: foreign, path: "a.json") }
        == "a.json: key 'init_lora_weights': 'pissa_niter_4' means that these factors belong to a changed base; save it from PEFT with path_initial_model_for_weight_conversion"
    )
  }

  @Test(arguments: ["lora pissa", "lora olora", "corda default", "lora eva", "lora default"])
  func `Saved, it is an adapter of the untouched model`(_ name: String) throws {
    let parts = name.split(separator: " ").map(String.init)
    var settings = settings(parts[1], rank: 3, alpha: 5)
    (settings.isRankStabilised, settings.rankPattern, settings.alphaPattern) = (true, ["up_proj": 2], ["k_proj": 1])
    settings.hasBias = true
    let plan = GraftPlan(method: parts[0], settings: settings)
    let untouched = try Checkpoint("\(fixtures)/models/llama-untied").model()
    let sites = try untouched.linearSites(of: plan)
    let ids: [[Int32]] = (0..<6).map { row in
      (0..<48).map { position in Int32((position * 37 + row * 101) % 320) }
    }
    let statistics = try Calibration.measure(untouched, .secondMoment, of: sites, on: ids)
    var model = untouched
    try model.graft(plan, random: RandomKey(seed: 1), statistics: statistics)
    model.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      let random = RandomKey(seed: 2)[name]
      parameter.value = parameter.value + .normal(parameter.value.shape, deviation: 0.02, from: random)
    }
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try AdapterFolder.save(model, PEFTConfiguration(plan, baseModel: nil), to: folder)
    var again = untouched
    let configuration = try AdapterFolder.load(folder, onto: &again)
    let isMoved = parts[0] == "corda" || parts[1] == "pissa" || parts[1] == "olora"
    #expect(configuration.plan.method == "lora" && configuration.plan.settings.rank == (isMoved ? 6 : 3))
    let batch = TokenBatch(ids), logits = model.logits(batch)
    #expect(distance(logits, untouched.logits(batch)) > 0.01)
    #expect(distance(again.logits(batch), logits) <= (isMoved ? 2e-5 : 0))
  }
}

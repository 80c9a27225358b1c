import ArgumentParser
import Files
import Quantizing
import Recipes
import Weights

/// Packs a model's matrices.
struct Quantize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Pack a model's matrices into few bits, block by block, and tell what each layer lost.",
    discussion: """
      rtn      every number to its nearest code
      gptq     column by column, later columns making good the errors of earlier ones
      awq      channels with large activations scaled up first, then ranges chosen by outputs
      adadim   groups along inputs or outputs, whichever loses less in each layer
      fp4      the best of three 4-bit floats for each layer, ranges searched
      os+      channels whose activations stand out scaled down first (--activation-bits)
      They combine: --scale, --round, --axis and --clip say each part by itself. A path ending in .gguf gives a GGUF file, any
      other a Hugging Face folder that Graft reads. What is unfinished is kept in OUTPUT.work; the same command goes on there.

      EXAMPLES
        graft quantize smollm2 --packing int3-g64 --method gptq --calibration text.txt --output smollm2-3bit
        graft quantize smollm2 --packing q4_K --method awq --calibration text.txt --output smollm2.gguf
        graft quantize smollm2 --packing nf4 --output smollm2-nf4
      """)

  @Argument(help: "The model.") var model: String
  @Option(name: .shortAndLong, help: "The folder or .gguf file to write.") var output: String
  @Option(help: "int2-g64, int3-g64, int4-g64, int8-g64, nf4, fp4-g32, q4_K, …; see 'graft ls packings'.") var packing:
    String
  @Option(help: "rtn, gptq, awq, adadim, fp4 or os+.") var method = "rtn"
  @Option(help: "Text or JSONL to measure layers on.") var calibration: String?
  @Option(help: "Sequences of it.") var sequences = 128
  @Option(help: "Tokens a sequence.") var length = 256
  @Option(help: "none, awq or os+: factors on channels.") var scale: String?
  @Option(help: "nearest or gptq: how codes are chosen.") var round: String?
  @Option(help: "as_packed or adaptive: along what groups lie.") var axis: String?
  @Option(help: "none, weights or outputs: what ranges are chosen for.") var clip: String?
  @Option(help: "Bits of the activations that os+ has in mind.") var activationBits = 8
  @Option(parsing: .upToNextOption, help: "Layers left as they are: names, or the ends of names.") var skip: [String] =
    []
  @Option(help: "A packing for the embedding table; as it is if left out.") var embedding: String?
  @Flag(help: "Take what a packed model stands for as the original.") var requantize = false
  @Flag(help: "Print the report as JSON.") var json = false

  func run() throws {
    guard sequences > 0, length > 0, (2...16).contains(activationBits) else {
      throw UsageError(description: "--sequences and --length must be at least 1, --activation-bits 2 to 16")
    }
    let plan = try plan()
    let text = calibration.map { CalibrationText($0, sequences: sequences, length: length) }
    let report = try QuantizeJob(plan, calibration: text).run(try LoadedModel(model), to: output) { Console.error($0) }
    Console.result(json ? report.json.text(pretty: true) : report.text)
  }

  private func plan() throws -> QuantizationPlan {
    var plan = QuantizationPlan(try packing(packing, "--packing"))
    plan.acceptsPacked = requantize
    (plan.skip, plan.embedding) = (skip, try embedding.map { try packing($0, "--embedding") })
    switch method {
    case "rtn": break
    case "gptq": plan.rounding = .gptq
    case "awq":
      plan.scaling = .awq
      if plan.packing.layout != nil { plan.clip = .outputs }
    case "adadim": plan.axis = .adaptive
    case "fp4": plan.searchesFormat = true
    case "os+": plan.scaling = .outliers(bits: activationBits)
    default: throw UsageError(description: "--method \(method): expected rtn, gptq, awq, adadim, fp4 or os+")
    }
    if let scale {
      let known: [String: QuantizationPlan.Scaling] = [
        "none": .none, "awq": .awq, "os+": .outliers(bits: activationBits),
      ]
      plan.scaling = try choice(scale, "--scale", "none, awq or os+") { known[$0] }
    }
    if let round {
      plan.rounding = try choice(round, "--round", "nearest or gptq") { ["nearest": .nearest, "gptq": .gptq][$0] }
    }
    if let axis {
      plan.axis = try choice(axis, "--axis", "as_packed or adaptive", QuantizationPlan.Axis.init(rawValue:))
    }
    if let clip {
      plan.clip = try choice(clip, "--clip", "none, weights or outputs", QuantizationPlan.Clip.init(rawValue:))
    }
    return plan
  }

  private func choice<T>(_ text: String, _ option: String, _ expected: String, _ read: (String) -> T?) throws -> T {
    guard let value = read(text) else { throw UsageError(description: "\(option) \(text): expected \(expected)") }
    return value
  }

  private func packing(_ text: String, _ option: String) throws -> Packing {
    do { return try Packing(parsing: text) } catch { throw UsageError(description: "\(option): \(error)") }
  }
}

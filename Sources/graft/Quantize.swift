import ArgumentParser
import Files
import Networks
import Quantizing
import Recipes
import Weights

/// Packs a model's matrices.
struct Quantize: ParsableCommand, WritingOnce {
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
      other a Hugging Face folder that Graft reads; one that is there is replaced whole, at the end, if all of it is Graft's.
      What is unfinished is kept in OUTPUT.work; the same command goes on there.

      Networks of images are packed by rounding (rtn, --clip weights at most): convolutions and linear layers, but not the
      output layer, nor layers whose rows the packing's blocks do not divide, which the report lists with the reason.

      EXAMPLES
        graft quantize smollm2 --packing int3-g64 --method gptq --calibration text.txt --output smollm2-3bit
        graft quantize smollm2 --packing q4_K --method awq --calibration text.txt --output smollm2.gguf
        graft quantize smollm2 --packing nf4 --output smollm2-nf4
        graft quantize runs/dinov2-small --packing int8-g32 --output dinov2-small-8bit
        graft quantize recipe.yaml
      """)

  @Argument(help: "The model, or a recipe, a YAML file, that says all of this; options say otherwise or more.")
  var model: String
  @Option(name: .shortAndLong, help: "The folder or .gguf file to write.") var output: String?
  @Option(help: "int2-g64, int3-g64, int4-g64, int8-g64, nf4, fp4-g32, q4_K, …; see 'graft ls packings'.") var packing:
    String?
  @Option(help: "rtn, gptq, awq, adadim, fp4 or os+; rtn if left out.") var method: String?
  @Option(help: "Text or JSONL to measure layers on.") var calibration: String?
  @Option(help: "Sequences of it; 128 if left out.") var sequences: Int?
  @Option(help: "Tokens a sequence; 256 if left out.") var length: Int?
  @Option(help: "none, awq or os+: factors on channels.") var scale: String?
  @Option(help: "nearest or gptq: how codes are chosen.") var round: String?
  @Option(help: "as_packed or adaptive: along what groups lie.") var axis: String?
  @Option(help: "none, weights or outputs: what ranges are chosen for.") var clip: String?
  @Option(help: "Bits of the activations that os+ has in mind; 8 if left out.") var activationBits: Int?
  @Option(parsing: .upToNextOption, help: "Layers left as they are: names, or the ends of names.") var skip: [String] =
    []
  @Option(help: "A packing for the embedding table; as it is if left out.") var embedding: String?
  @Flag(help: "Take what a packed model stands for as the original.") var requantize = false
  @Flag(help: "Print the report as JSON.") var json = false

  func run() throws {
    let settings = try QuantizeSettings(model, options: try options(), catalogue: .graft)
    guard let report = try imageReport(settings) ?? textReport(settings) else { return }
    Console.result(json ? report.json.text(pretty: true) : report.text)
  }

  /// Packs a network of images; nil where the model is none.
  private func imageReport(_ settings: QuantizeSettings) throws -> QuantizationReport? {
    guard let model = settings.model, let output = settings.output, case let path = try KnownModel.resolve(model),
      Folder.exists(path + "/config.json"), case let images = try ImageCheckpoint(path), images.isKnown
    else { return nil }
    return try ImageQuantizeJob(settings).run(images, to: output) { Console.error($0) }
  }

  private func textReport(_ settings: QuantizeSettings) throws -> QuantizationReport? {
    try settings.check()
    guard let model = settings.model, let output = settings.output else { return nil }
    return try QuantizeJob(try settings.plan(), calibration: settings.calibrationText)
      .run(try LoadedModel(model), to: output) { Console.error($0) }
  }

  private func options() throws -> QuantizeSettings {
    guard sequences ?? 1 > 0, length ?? 1 > 0, (2...16).contains(activationBits ?? 8) else {
      throw UsageError(description: "--sequences and --length must be at least 1, --activation-bits 2 to 16")
    }
    var options = QuantizeSettings()
    options.output = output
    options.packing = try packing.map { try packing($0, "--packing") }
    options.embedding = try embedding.map { try packing($0, "--embedding") }
    options.method = try choice(method, "--method")
    options.scale = try choice(scale, "--scale")
    options.round = try choice(round, "--round")
    options.axis = try choice(axis, "--axis")
    options.clip = try choice(clip, "--clip")
    (options.calibration, options.sequences, options.length) = (calibration, sequences, length)
    options.activationBits = activationBits
    if !skip.isEmpty { options.skip = skip }
    if requantize { options.requantizes = true }
    return options
  }

  private func choice<Value: RawRepresentable<String> & CaseIterable>(
    _ text: String?, _ option: String
  ) throws -> Value? {
    guard let text else { return nil }
    guard let value = Value(rawValue: text) else {
      let names = Value.allCases.map(\.rawValue)
      let expected = names.dropLast().joined(separator: ", ") + " or " + (names.last ?? "")
      throw UsageError(description: "\(option) \(text): expected \(expected)")
    }
    return value
  }

  private func packing(_ text: String, _ option: String) throws -> Packing {
    do { return try Packing(parsing: text) } catch { throw UsageError(description: "\(option): \(error)") }
  }
}

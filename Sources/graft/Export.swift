import ArgumentParser
import Files
import Recipes
import Weights

/// Writes a model or an adapter in another tool's form.
struct Export: ParsableCommand, WritingOnce {
  static let configuration = CommandConfiguration(
    abstract: "Write a model, or an adapter, in the form another tool reads.",
    discussion: """
      gguf        a model for llama.cpp; an adapter is folded in first
      gguf-lora   an adapter for llama.cpp, beside a GGUF of its base
      hf          a Hugging Face folder; an adapter is folded in first
      gptq        the same with the packed layers as GPTQ's tools store them (version 2)
      An adapter folder of ours is a PEFT folder as it is. A model's folder that is there is replaced if all of it is Graft's,
      else refused.

      EXAMPLES
        graft export smollm2 --adapter runs/trivia/adapter --to gguf --type q8_0 --output trivia.gguf
        graft export smollm2 --adapter runs/trivia/adapter --to gguf-lora --output trivia-lora.gguf
        graft quantize smollm2 --packing int4-g64-f16-zero --method gptq --calibration text.txt --output packed
        graft export packed --to gptq --output smollm2-gptq
      """)

  @Argument(help: "The model.") var model: String
  @Option(help: "The adapter's folder.") var adapter: String?
  @Option(help: "The task to serve, for an adapter that routes by task.") var task: String?
  @Option(help: "gguf, gguf-lora, hf or gptq.") var to: String
  @Option(help: "f32, f16, q8_0, q4_0, q4_1, …; each matrix's own if left out (gguf).") var type: String?
  @Option(name: .shortAndLong, help: "The file or folder to write.") var output: String
  @Flag(help: "Accept an adapter that was trained on another base.") var anyBase = false

  func run() throws {
    var packing: Packing?
    if let type {
      do { packing = try Packing(parsing: type) } catch { throw UsageError(description: "--type \(type): \(error)") }
    }
    guard ["gguf", "gguf-lora", "hf", "gptq"].contains(to) else {
      throw UsageError(description: "--to \(to): expected gguf, gguf-lora, hf or gptq")
    }
    guard type == nil || to == "gguf" else { throw UsageError(description: "--type belongs to --to gguf") }
    let loaded = try LoadedModel(model, adapter: adapter, task: task, anyBase: anyBase, folds: true)
    _ = try ModelOutput(output, of: loaded, isFile: to.hasPrefix("gguf"), sources: [adapter].compactMap { $0 })
    switch to {
    case "gguf": try GGUFExport.write(try loaded.folded(.full).network, of: loaded, type: packing, to: output)
    case "gguf-lora":
      guard adapter != nil else { throw UsageError(description: "--to gguf-lora needs --adapter") }
      try GGUFExport.writeAdapter(loaded.network, of: loaded, to: output)
    case "gptq":
      // Layers that an adapter changed are packed again as they were.
      try ModelFolderExport.write(try loaded.folded(.requantize).network, of: loaded, to: output, as: .gptq)
    default: try ModelFolderExport.write(try loaded.folded(.full).network, of: loaded, to: output)
    }
    Console.result("wrote \(output)")
  }
}

import ArgumentParser
import Files
import Networks
import Recipes

/// Writes a model's logits, for anyone who compares it with something else.
struct Logits: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the logits of a text to a safetensors file.",
    discussion: """
      The file holds 'logits' F32, [tokens, vocabulary] or, of a classifier, [1, classes], and 'ids' [tokens] I32.

      EXAMPLES
        graft logits smollm2 --text "The quick brown fox" --out logits.safetensors
        graft logits models/llama --adapter adapter --ids 1,2,3 --out logits.safetensors
      """)

  @Argument(help: "The model.") var model: String
  @Option(help: "The adapter's folder.") var adapter: String?
  @Option(help: "The task to serve, for an adapter that routes by task.") var task: String?
  @Option(help: "Token ids, separated by commas.") var ids: String?
  @Option(help: "A text; no special tokens are added, but for a classifier.") var text: String?
  @Option(help: "The file to write.") var out: String
  @Flag(help: "Accept an adapter that was trained on another base.") var anyBase = false

  func run() throws {
    let loaded = try LoadedModel(model, adapter: adapter, task: task, anyBase: anyBase)
    let network = loaded.network
    if network is any Classifier { _ = try loaded.requireClassifier() }
    let tokens: [Int32]
    switch (ids, text) {
    case (let list?, nil):
      tokens = try list.split(separator: ",", omittingEmptySubsequences: false).map { part in
        guard let id = Int32(part.filter { $0 != " " }), id >= 0, id < network.vocabularySize else {
          throw UsageError(description: "--ids: '\(part)' is no id from 0 to \(network.vocabularySize - 1)")
        }
        return id
      }
    case (nil, let text?):
      let tokenizer = try loaded.requireTokenizer()
      // A classifier reads its answer at a special token.
      tokens = (network is any Classifier ? tokenizer.encode(text) : tokenizer.encodePlain(text)).map(Int32.init)
    default: throw UsageError(description: "give either --ids or --text")
    }
    guard !tokens.isEmpty, tokens.count <= network.contextLength else {
      throw UsageError(description: "\(tokens.count) tokens; expected 1 to \(network.contextLength)")
    }
    let logits = network.logits(TokenBatch([tokens]))
    try loaded.require(finite: logits)
    try Safetensors.write(
      [
        TensorToWrite(name: "logits", floats: logits.values, shape: logits.shape.dimensions),
        TensorToWrite(name: "ids", type: .i32, shape: [tokens.count]) { writer in
          try tokens.withUnsafeBytes { try writer.write($0) }
        },
      ], to: out)
    Console.result("wrote \(out): logits \(logits.shape)")
  }
}

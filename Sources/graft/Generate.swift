import ArgumentParser
import Autodiff
import Networks
import Recipes
import Text

/// Writes text.
struct Generate: ParsableCommand, Interruptible {
  static let configuration = CommandConfiguration(
    abstract: "Answer a prompt, token by token.",
    discussion: """
      EXAMPLES
        graft generate smollm2 --prompt "What is the capital of France?"
        graft generate smollm2 --adapter runs/trivia/adapter --prompt "Who wrote Hamlet?" --temperature 0.7 --top-p 0.9
      """)

  @Argument(help: "The model.") var model: String
  @Option(help: "The adapter's folder.") var adapter: String?
  @Option(help: "The task to serve, for an adapter that routes by task.") var task: String?
  @Option(help: "What to answer.") var prompt: String
  @Option(help: "A system message before it.") var system: String?
  @Option(help: "Tokens to write at most.") var maxNewTokens = 128
  @Option(help: "0 takes the likeliest token each time.") var temperature: Float = 0
  @Option(help: "Draw only from the likeliest tokens that reach this probability together.") var topP: Float = 1
  @Option(help: "Where draws begin.") var seed = 42
  @Flag(help: "Continue the prompt as it is, without the chat template.") var raw = false
  @Flag(help: "Accept an adapter that was trained on another base.") var anyBase = false

  func run() throws {
    guard temperature >= 0, topP > 0, topP <= 1, maxNewTokens > 0 else {
      throw UsageError(description: "--temperature must be at least 0, --top-p in (0, 1], --max-new-tokens at least 1")
    }
    let loaded = try LoadedModel(model, adapter: adapter, task: task, anyBase: anyBase)
    let (network, tokenizer) = (try loaded.requireLanguageModel(), try loaded.requireTokenizer())
    let isChat = !raw && loaded.template != nil
    let messages =
      (system.map { [Message(role: "system", content: $0)] } ?? []) + [Message(role: "user", content: prompt)]
    let text = isChat ? try loaded.render(messages) : prompt
    let ids = tokenizer.encode(text, addingSpecialTokens: !isChat).map(Int32.init)
    guard ids.count < loaded.network.contextLength else {
      throw UsageError(
        description: "the prompt has \(ids.count) tokens; the model reads at most \(loaded.network.contextLength)")
    }
    let sampling = Sampling(
      temperature: temperature, topP: topP, random: RandomKey(seed: UInt64(bitPattern: Int64(seed)))["generate"])
    var stream = TokenizerStream(tokenizer)
    try network.generate(
      after: ids, limit: maxNewTokens, stop: loaded.stopTokens, sampling, check: { try loaded.require(finite: $0) }
    ) { token in
      Console.partial(stream.text(for: Int(token)))
      return Interruption.signal == nil
    }
    Console.result(stream.finish())
    if let signal = Interruption.signal { throw Ending(code: 128 + signal) }
  }
}

import Autodiff
import Testing

@testable import Networks

/// A model taken block by block is the model.
struct BlockStackTests {
  private let batch = TokenBatch([[3, 17, 29, 40, 55, 90], [5, 6, 7]])

  @Test(arguments: ["llama-untied", "qwen3", "mistral-swa", "gpt2"])
  func `Blocks one after another are the model`(_ name: String) throws {
    let model = try Checkpoint("\(fixtures)/models/\(name)").model()
    #expect(model.blockCount > 1)
    var h = model.embedded(batch, Context())
    #expect(model.hidden(batch, through: 0) == h)
    for block in 0..<model.blockCount {
      let next = model.hidden(h, through: block..<block + 1, of: batch, Context())
      #expect(next != h && model.hidden(batch, through: block + 1) == next)
      h = next
    }
    // What is left is the last norm.
    switch model {
    case let llama as Llama:
      #expect(
        rmsNorm(h, weight: llama.norm.value, epsilon: llama.configuration.epsilon) == model.states(batch, Context()))
    case let gpt2 as GPT2: #expect(gpt2.norm(h) == model.states(batch, Context()))
    default: Issue.record("a model of another kind")
    }
  }

  @Test func `A parameter's block is the first number of its name`() {
    #expect(blockIndex("model.layers.12.self_attn.q_proj.lora_A.weight") == 12)
    #expect(blockIndex("transformer.h.0.ln_1.bias") == 0 && blockIndex("model.norm.weight") == nil)
  }
}

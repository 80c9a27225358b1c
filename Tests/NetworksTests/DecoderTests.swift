import Autodiff
import Files
import Foundation
import Networks
import Testing

/// The folder of fixtures beside the test targets.
let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures").path

/// Fixtures made by transformers 5.23, see `Tests/Fixtures/README.md`.
private let decoders = ["llama-tied", "llama-untied", "llama3-rope", "qwen2", "qwen3", "mistral-swa", "gpt2"]

struct DecoderTests {
  private func load(_ name: String) throws -> (model: any LanguageModel, reference: Safetensors) {
    let folder = "\(fixtures)/models/\(name)"
    let model = try #require(try Checkpoint(folder).model() as? any LanguageModel)
    return (model, try Safetensors(folder + "/reference.safetensors"))
  }

  private func batch(_ reference: Safetensors) throws -> (batch: TokenBatch, labels: [Int32]) {
    let ids = try reference.entry("input_ids"), width = ids.shape[1]
    let all = try ids.integers().map(Int32.init)
    let rows = stride(from: 0, to: all.count, by: width).map { Array(all[$0..<$0 + width]) }
    return (TokenBatch(rows), try reference.entry("labels").integers().map(Int32.init))
  }

  @Test(arguments: decoders)
  func `Logits equal transformers'`(_ name: String) throws {
    let (model, reference) = try load(name)
    let ours = model.logits(try batch(reference).batch).values
    let theirs = try reference.entry("logits").floats()
    #expect(ours.count == theirs.count)
    // The references' own error against double precision is below 5e-6.
    #expect(zip(ours, theirs).allSatisfy { abs($0 - $1) < 2e-5 })
  }

  @Test(arguments: decoders)
  func `The loss over labels equals transformers'`(_ name: String) throws {
    let (model, reference) = try load(name)
    let (batch, labels) = try batch(reference)
    let (sum, count) = model.lossSum(batch, labels: labels, Context())
    #expect(abs(sum.scalar / Float(count) - (try reference.entry("loss").floats()[0])) < 1e-5)
  }

  @Test(arguments: decoders)
  func `Greedy continuation by the cache equals transformers'`(_ name: String) throws {
    let (model, reference) = try load(name)
    let expected = try reference.entry("greedy_ids").integers().map(Int32.init)
    let prompt = Array(try batch(reference).batch.ids.prefix(8))
    #expect(Array(expected.prefix(8)) == prompt)
    let written = model.generate(after: prompt, limit: expected.count - 8, stop: [])
    #expect(prompt + written == expected)
  }

  @Test(arguments: decoders)
  func `A text read token by token through the cache gives the logits of reading it whole`(_ name: String) throws {
    let (model, reference) = try load(name)
    let ids = Array(try batch(reference).batch.ids.prefix(12))
    let whole = model.logits(TokenBatch([ids])).values
    let cache = model.makeCache()
    let single = ids.flatMap { model.logits(model.states([$0], cache: cache), Context()).values }
    #expect(zip(whole, single).allSatisfy { abs($0 - $1) < 2e-5 })
  }

  @Test(arguments: decoders)
  func `Recomputing activations changes no bit of the loss`(_ name: String) throws {
    let (model, reference) = try load(name)
    let (batch, labels) = try batch(reference)
    let plain = model.lossSum(batch, labels: labels, Context()).sum.scalar
    #expect(model.lossSum(batch, labels: labels, Context(recomputes: true)).sum.scalar == plain)
  }
}

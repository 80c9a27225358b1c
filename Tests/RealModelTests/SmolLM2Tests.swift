import Autodiff
import Files
import Foundation
import Networks
import Recipes
import Testing
import Weights

/// The folder of fixtures beside the test targets.
private let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures").path

/// Checks of a real model, SmolLM2-135M-Instruct in Q4_1, against transformers over the same weights as floats.
///
/// `Scripts/test --full` fetches the model and runs them; elsewhere they are skipped.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["GRAFT_FULL"] != nil), .serialized)
struct SmolLM2Tests {
  private let model: LoadedModel

  init() throws { model = try LoadedModel("smollm2") }

  private func reference(_ name: String) throws -> Safetensors { try Safetensors("\(fixtures)/smollm2/\(name)") }

  @Test func `Unpacked rows equal gguf-py's, bit for bit`() throws {
    let samples = try reference("dequantised.safetensors")
    guard case .gguf(let file) = model.checkpoint.form else { throw FileError(model.checkpoint.path, "is no GGUF") }
    #expect(samples.names.count == 6)
    for name in samples.names {
      let tensor = try file.tensor(String(name.prefix(upTo: try #require(name.range(of: ".rows")).lowerBound)))
      let expected = try samples.entry(name), columns = try #require(expected.shape.last)
      let packing = try #require(Packing(tensor.type)), rows = expected.count / columns
      var ours = [Float](repeating: 0, count: expected.count)
      ours.withUnsafeMutableBufferPointer { buffer in
        guard let place = buffer.baseAddress, let start = tensor.bytes.baseAddress else { return }
        PackedCodec.unpack(start, rowCount: rows, columns: columns, packing: packing, into: place)
      }
      #expect(ours == (try expected.floats()), "\(name)")
    }
  }

  @Test func `Logits of a prompt equal transformers' in floats, and so does every first choice`() throws {
    let expected = try reference("logits.safetensors")
    let ids = try expected.entry("tokens").integers().map(Int32.init)
    let logits = model.network.logits(TokenBatch([ids])), vocabulary = model.network.vocabularySize
    let last = logits.values.suffix(4 * vocabulary)
    #expect(zip(last, try expected.entry("hf_last4").floats()).allSatisfy { abs($0 - $1) < 2e-4 })
    let top = try expected.entry("hf_top20").floats(), topIDs = try expected.entry("hf_top20_ids").integers()
    logits.withValues { values in
      for row in ids.indices {
        for place in 0..<20 {
          let ours = values[row * vocabulary + topIDs[row * 20 + place]]
          #expect(abs(ours - top[row * 20 + place]) < 2e-4)
        }
      }
    }
    #expect(logits.rowArgmax == ids.indices.map { topIDs[$0 * 20] })
  }

  @Test(arguments: [(1, 23.74), (257, 18.20)])
  func `Perplexity of the GPL is transformers' within a thousandth`(_ skip: Int, _ expected: Double) throws {
    let result = try PerplexityMeasure(window: 512, skip: skip, limit: 4)
      .measure(model, text: "\(fixtures)/smollm2/gpl-3.txt")
    // The reference has four digits, so half of its last one is allowed besides.
    #expect(abs(result.perplexity - expected) < 0.001 * expected + 0.005)
  }

  @Test func `Greedy text begins as llama.cpp's and transformers' do, up to their first near tie`() throws {
    let json = try JSON.read("\(fixtures)/smollm2/greedy.json")
    func ids(_ key: String) throws -> [Int32] {
      try #require(json[key]?.array).compactMap(\.int).map(Int32.init)
    }
    let (ours, hub, llama) = (
      try model.requireLanguageModel().generate(after: try ids("prompt_ids"), limit: 24, stop: []), try ids("hf_fp32"),
      try ids("llama_cpp_F32")
    )
    let agreed = zip(hub, llama).prefix { $0 == $1 }.count
    #expect(agreed >= 8 && Array(ours.prefix(agreed)) == Array(hub.prefix(agreed)))
  }
}

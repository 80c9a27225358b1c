import Autodiff
import Files
import Networks
import Testing

/// BERT against transformers 5.23: three sequences, two of them padded, each a pair of texts.
struct EncoderTests {
  private func load() throws -> (model: any Classifier, reference: Safetensors) {
    let folder = "\(fixtures)/models/bert-cls"
    let model = try #require(try Checkpoint(folder).model() as? any Classifier)
    return (model, try Safetensors(folder + "/reference.safetensors"))
  }

  /// The sequences without their padding, which transformers masks and this package never lays out.
  private func batch(_ reference: Safetensors) throws -> (batch: TokenBatch, labels: [Int32]) {
    let width = try reference.entry("input_ids").shape[1]
    func rows(_ name: String) throws -> [[Int32]] {
      let mask = try reference.entry("attention_mask").integers()
      let all = try reference.entry(name).integers().map(Int32.init)
      return stride(from: 0, to: all.count, by: width).map { start in
        (start..<start + width).filter { mask[$0] == 1 }.map { all[$0] }
      }
    }
    return (
      TokenBatch(try rows("input_ids"), segments: try rows("token_type_ids")),
      try reference.entry("labels").integers().map(Int32.init)
    )
  }

  @Test func `Logits and loss of an encoder equal transformers', padding and segments included`() throws {
    let (model, reference) = try load()
    let (batch, labels) = try batch(reference)
    #expect(Set(batch.lengths).count == 3 && Set(batch.segments) == [0, 1])
    let ours = model.logits(batch).values, theirs = try reference.entry("logits").floats()
    #expect(ours.count == theirs.count && zip(ours, theirs).allSatisfy { abs($0 - $1) < 2e-5 })
    let (sum, count) = model.lossSum(batch, labels: labels, Context())
    let loss = try reference.entry("loss").floats()[0]
    #expect(count == 3 && abs(sum.scalar / 3 - loss) < 1e-5)
  }

  @Test func `Every gradient of an encoder equals transformers'`() throws {
    let (model, reference) = try load()
    let (batch, labels) = try batch(reference)
    var copy = model as any TextNetwork
    copy.forEachParameter { $1.isTrainable = true }
    func gradients(_ model: some TextNetwork) -> [Tensor] {
      valueAndGradients(of: model) { (1 / Float(3)) * $0.lossSum(batch, labels: labels, Context()).sum }.gradients
    }
    var compared = 0
    for (parameter, gradient) in zip(copy.trainableParameters, gradients(copy)) {
      let theirs = try reference.entry("grad." + parameter.name).floats()
      let size = theirs.map(abs).max() ?? 0
      #expect(
        zip(gradient.values, theirs).allSatisfy { abs($0 - $1) < 2e-6 + 1e-4 * size }, "\(parameter.name)")
      compared += 1
    }
    // The matrices are frozen weights here, not parameters; their gradients are compared through adapters.
    #expect(compared == 4 + 2 * 10 + 2)
  }

  @Test func `A sequence gives the same logits alone as beside others`() throws {
    let (model, reference) = try load()
    let whole = try batch(reference).batch, together = model.logits(whole)
    for (row, start) in whole.starts.enumerated() {
      let range = Int(start)..<Int(start) + whole.lengths[row]
      let alone = TokenBatch([Array(whole.ids[range])], segments: [Array(whole.segments[range])])
      #expect(zip(model.logits(alone).values, together.rows(row..<row + 1).values).allSatisfy { abs($0 - $1) < 1e-6 })
    }
  }

  @Test func `Recomputing an encoder's activations changes no bit of the loss`() throws {
    let (model, reference) = try load()
    let (batch, labels) = try batch(reference)
    let plain = model.lossSum(batch, labels: labels, Context()).sum.scalar
    #expect(model.lossSum(batch, labels: labels, Context(recomputes: true)).sum.scalar == plain)
  }

  @Test func `An unlabelled sequence is not scored`() throws {
    let (model, reference) = try load()
    let (batch, labels) = try batch(reference)
    let (sum, count) = model.lossSum(batch, labels: [labels[0], ignoredLabel, labels[2]], Context())
    let all = model.logits(batch)
    let expected = crossEntropySum(.concatenated([all.rows(0..<1), all.rows(2..<3)]), labels: [labels[0], labels[2]])
    #expect(count == 2 && abs(sum.scalar - expected.scalar) < 1e-6)
  }

  @Test func `A fresh head has a row a class, no bias, and the same numbers for one seed`() throws {
    var (model, _) = try load()
    model.setHead(labels: ["a", "b", "c", "d", "e"], random: RandomKey(seed: 3))
    var again = model
    again.setHead(labels: ["a", "b", "c", "d", "e"], random: RandomKey(seed: 3))
    let batch = TokenBatch([[2, 9, 8, 3]])
    #expect(model.labels.count == 5 && model.logits(batch).shape == [1, 5])
    #expect(model.logits(batch) == again.logits(batch))
    again.setHead(labels: ["a", "b", "c", "d", "e"], random: RandomKey(seed: 4))
    #expect(model.logits(batch) != again.logits(batch))
  }
}

import Adapters
import Autodiff
import CKernels
import Files
import Networks
import Text
import Training
import Weights

/// How long a training step takes, and how much of the machine it uses.
public struct TrainingBenchmark: Sendable {
  /// The sizes of a random model.
  public struct Sizes: Sendable {
    let hidden: Int, layers: Int, ffn: Int, vocab: Int, heads: Int, kvHeads: Int

    /// Channels, blocks, feed-forward channels, token ids, heads and key heads.
    public init(hidden: Int, layers: Int, ffn: Int, vocab: Int, heads: Int, kvHeads: Int) {
      (self.hidden, self.layers, self.ffn) = (hidden, layers, ffn)
      (self.vocab, self.heads, self.kvHeads) = (vocab, heads, kvHeads)
    }
  }

  private let model: String?
  private let sizes: Sizes
  private let batch: Int, sequence: Int, rank: Int, steps: Int
  private let recomputes: Bool

  /// LoRA of `rank` on all linear layers of `model`, or of a random model of `sizes`, untied and in float.
  public init(model: String?, sizes: Sizes, batch: Int, sequence: Int, rank: Int, steps: Int, recomputes: Bool) {
    (self.model, self.sizes, self.batch, self.sequence) = (model, sizes, batch, sequence)
    (self.rank, self.steps, self.recomputes) = (rank, steps, recomputes)
  }

  /// What was measured.
  public struct Result: Sendable {
    let name: String
    let tokens: Int, trainable: Int, threads: Int
    let seconds: [Double]
    let usefulFlops: Double
    let peakFlops: Double
    let peakMemory: Int, tensorMemory: Int, systemRequests: Int

    private var median: Double { seconds.sorted()[seconds.count / 2] }
    private var rate: Double { usefulFlops / median }

    /// The result as lines of text.
    public var text: String {
      """
      \(name): \(tokens) tokens a step, \(grouped(trainable)) trainable numbers, \(threads) threads
        step        median \(number(median * 1e3)) ms   min \(number((seconds.min() ?? 0) * 1e3))   max \(number((seconds.max() ?? 0) * 1e3))   (\(seconds.count) steps)
        speed       \(number(Double(tokens) / median)) tokens/s
        arithmetic  \(number(rate / 1e9)) GFLOP/s of useful work (\(number(usefulFlops / 1e9)) GFLOP a step)
        machine     \(number(peakFlops / 1e9)) GFLOP/s of fused multiply-adds on \(threads) threads, so \(percent(rate / peakFlops)) of peak
        memory      \(megabytes(peakMemory)) peak resident, of it \(megabytes(tensorMemory)) tensors; \(systemRequests) requests to the system in the timed steps
      """
    }

    /// The result as JSON.
    public var json: JSON {
      .object([
        "name": .string(name), "tokens": .integer(tokens), "threads": .integer(threads), "median_s": .number(median),
        "min_s": .number(seconds.min() ?? 0), "max_s": .number(seconds.max() ?? 0), "gflops": .number(rate / 1e9),
        "peak_gflops": .number(peakFlops / 1e9), "fraction_of_peak": .number(rate / peakFlops),
        "peak_rss_mb": .number(Double(peakMemory) / 1e6), "tensor_mb": .number(Double(tensorMemory) / 1e6),
      ])
    }
  }

  /// Runs the steps.
  public func measure(threads: Int?) throws -> Result {
    if let threads { Parallel.threads = threads }
    let peak = machinePeak()
    var network: any LanguageModel = try model.map { try LoadedModel($0).network } ?? random()
    try network.graft(
      GraftPlan(method: LoRA.method, settings: AdapterSettings(rank: rank, alpha: Double(2 * rank))),
      random: RandomKey(seed: 1))
    var settings = TrainingSettings()
    settings.batchSize = batch
    settings.recomputes = recomputes
    settings.schedule = Schedule(.constant, total: steps + 2)
    var stream = RandomKey(seed: 2).generator
    let vocabulary = network.vocabularySize
    let examples = (0..<batch).map { _ in
      let ids = (0..<sequence).map { _ in Int32.random(in: 0..<Int32(vocabulary), using: &stream) }
      return Example(ids: ids, labels: ids, source: "random")
    }
    var run = TrainingRun(network, AdamW(), settings, on: examples, seed: 3)
    for _ in 0..<2 { _ = try run.next() }
    let requests = Memory.systemRequests
    var seconds: [Double] = []
    while true {
      let start = secondsNow()
      guard try run.next() != nil else { break }
      seconds.append(secondsNow() - start)
    }
    let trainable = network.trainableParameters.reduce(0) { $0 + $1.value.count }
    return Result(
      name: model ?? "random \(sizes.layers) × \(sizes.hidden)", tokens: batch * sequence, trainable: trainable,
      threads: Parallel.threads, seconds: seconds, usefulFlops: usefulFlops(network, trainable: trainable),
      peakFlops: peak,
      peakMemory: ProcessMemory.peak, tensorMemory: Memory.peak, systemRequests: Memory.systemRequests - requests)
  }

  /// 2 a weight and token forward, 2 for the gradient of the input, 2 for that of what is trained, and the causal half of
  /// attention; nothing for what is computed twice.
  private func usefulFlops(_ network: any LanguageModel, trainable: Int) -> Double {
    var copy = network
    var weights = 0, attention = 0
    copy.forEachLinear { name, layer in
      weights += layer.base.weight.rows * layer.base.weight.columns
      if name.hasSuffix("q_proj") { attention += layer.base.outputs }
    }
    if network.tiesHead { copy.forEachEmbedding { weights += $1.base.weight.rows * $1.base.weight.columns } }
    let tokens = Double(batch * sequence)
    let mixing = 6 * Double(attention) * Double(sequence) * tokens
    return 4 * Double(weights) * tokens + 6 * Double(trainable) * tokens + mixing
  }

  private func machinePeak() -> Double {
    let threads = Parallel.threads
    let rates = Tensor(shape: [threads]) { place in
      Parallel.forEach(threads) { place[$0] = Float(graft_fma_peak(0.2)) }
    }
    return rates.values.reduce(0) { $0 + Double($1) * 1e9 }
  }

  private func random() throws -> any LanguageModel {
    let json = JSON.object([
      "model_type": .string("llama"), "vocab_size": .integer(sizes.vocab), "hidden_size": .integer(sizes.hidden),
      "intermediate_size": .integer(sizes.ffn), "num_hidden_layers": .integer(sizes.layers),
      "num_attention_heads": .integer(sizes.heads), "num_key_value_heads": .integer(sizes.kvHeads),
      "max_position_embeddings": .integer(max(2048, sequence)), "rms_norm_eps": .number(1e-5),
      "rope_theta": .number(10000), "tie_word_embeddings": .bool(false), "hidden_act": .string("silu"),
    ])
    return try Llama(LlamaConfiguration(json: json, path: "bench"), from: RandomWeights(RandomKey(seed: 4)))
  }
}

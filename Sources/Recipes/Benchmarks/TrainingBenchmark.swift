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
  private let adapters: [String], targets: [String], packings: [String]

  /// Adapters of `rank`, one run each, on the named layers of `model`, or of a random model of `sizes`, untied and in
  /// float; on all linear layers if none are named. With `packings`, of which `f32` is one, a run of each adapter over the
  /// model's matrices packed so, and otherwise as they are.
  public init(
    model: String?, sizes: Sizes, batch: Int, sequence: Int, rank: Int, steps: Int, recomputes: Bool,
    adapters: [String] = [LoRA.method], targets: [String] = [], packings: [String] = []
  ) {
    (self.model, self.sizes, self.batch, self.sequence) = (model, sizes, batch, sequence)
    (self.rank, self.steps, self.recomputes) = (rank, steps, recomputes)
    (self.adapters, self.targets, self.packings) = (adapters, targets, packings)
  }

  /// What was measured.
  public struct Result: Sendable {
    let name: String, adapter: String
    let tokens: Int, trainable: Int, threads: Int
    let seconds: [Double]
    let usefulFlops: Double
    let peakFlops: Double
    /// Bytes a step keeps between the way forward and the way back.
    let kept: Int
    let peakMemory: Int, tensorMemory: Int, systemRequests: Int
    /// The name of the run all are compared with, and the median of the times its steps took over those it took in turn
    /// with; nil of that run itself.
    let comparison: (name: String, ratio: Double)?

    private var comparisonText: String {
      comparison.map { "\n  compared    \(number($0.ratio)) × the steps of \($0.name), median of pairs in turn" } ?? ""
    }

    private var median: Double { seconds.sorted()[seconds.count / 2] }
    private var rate: Double { usefulFlops / median }

    /// The result as lines of text.
    public var text: String {
      """
      \(name), \(adapter): \(tokens) tokens a step, \(grouped(trainable)) trainable numbers, \(threads) threads
        step        median \(number(median * 1e3)) ms   min \(number((seconds.min() ?? 0) * 1e3))   max \(number((seconds.max() ?? 0) * 1e3))   (\(seconds.count) steps)
        speed       \(number(Double(tokens) / median)) tokens/s
        arithmetic  \(number(rate / 1e9)) GFLOP/s of useful work (\(number(usefulFlops / 1e9)) GFLOP a step)
        machine     \(number(peakFlops / 1e9)) GFLOP/s of fused multiply-adds on \(threads) threads, so \(percent(rate / peakFlops)) of peak; OpenBLAS kernels \(String(cString: graft_blas_core()))
        kept        \(megabytes(kept)) between the way forward and the way back
        memory      \(megabytes(peakMemory)) peak resident, of it \(megabytes(tensorMemory)) tensors; \(systemRequests) requests to the system in the timed steps\(comparisonText)
      """
    }

    /// The result as JSON.
    public var json: JSON {
      .object([
        "name": .string(name), "adapter": .string(adapter), "blas": .string(String(cString: graft_blas_core())),
        "trainable": .integer(trainable),
        "kept_mb": .number(Double(kept) / 1e6), "tokens": .integer(tokens), "threads": .integer(threads),
        "median_s": .number(median),
        "min_s": .number(seconds.min() ?? 0), "max_s": .number(seconds.max() ?? 0), "gflops": .number(rate / 1e9),
        "peak_gflops": .number(peakFlops / 1e9), "fraction_of_peak": .number(rate / peakFlops),
        "peak_rss_mb": .number(Double(peakMemory) / 1e6), "tensor_mb": .number(Double(tensorMemory) / 1e6),
        "ratio_to_first": .number(comparison?.ratio ?? 1),
      ])
    }
  }

  /// Runs the steps, one of each adapter in turn, so that whatever else the machine does falls on all alike.
  ///
  /// - Throws: a ``GraftError`` for an adapter or a target the model has no place for.
  public func measure(threads: Int?) throws -> [Result] {
    if let threads { Parallel.threads = threads }
    let peak = machinePeak()
    let base: any TextNetwork = try model.map { try LoadedModel($0).network } ?? random()
    guard base is any LanguageModel else {
      throw GraftError("the benchmark's random tokens have no classes for an encoder; give a decoder")
    }
    let bases: [(name: String?, network: any TextNetwork)] =
      packings.isEmpty ? [(nil, base)] : try packings.map { ($0, try packed(base, $0)) }
    let cases = bases.flatMap { base in adapters.map { (adapter: $0, base: base) } }
    let names = cases.map { made in made.adapter + (made.base.name.map { " over " + $0 } ?? "") }
    var runs = try cases.map { try start($0.base.network, $0.adapter) }
    for _ in 0..<2 { for index in runs.indices { _ = try runs[index].next() } }
    let requests = Memory.systemRequests
    var seconds = [[Double]](repeating: [], count: runs.count)
    for _ in 0..<steps {
      for index in runs.indices {
        let start = secondsNow()
        guard try runs[index].next() != nil else { continue }
        seconds[index].append(secondsNow() - start)
      }
    }
    let (resident, tensors, asked) = (ProcessMemory.peak, Memory.peak, Memory.systemRequests - requests)
    return runs.indices.map { index in
      let trained = runs[index].model
      let trainable = trained.trainableParameters.reduce(0) { $0 + $1.value.count }
      return Result(
        name: model ?? "random \(sizes.layers) × \(sizes.hidden)", adapter: names[index], tokens: batch * sequence,
        trainable: trainable, threads: Parallel.threads, seconds: seconds[index],
        usefulFlops: usefulFlops(trained, trainable: trainable), peakFlops: peak, kept: kept(trained, runs[index]),
        peakMemory: resident, tensorMemory: tensors, systemRequests: asked,
        comparison: index == 0
          ? nil : (names[0], zip(seconds[index], seconds[0]).map { $0 / $1 }.sorted()[seconds[0].count / 2]))
    }
  }

  /// The model with the matrices of its blocks in `packing`.
  private func packed(_ base: any TextNetwork, _ name: String) throws -> any TextNetwork {
    let packing = try Packing(parsing: name)
    var network = base
    try network.forEachLinear(throwing: { _, layer in
      layer.base.weight = try FrozenWeight(layer.base.weight.unpacked(), packing: packing)
    })
    return network
  }

  /// A run of `adapter` on `base`, over random tokens.
  private func start(_ base: any TextNetwork, _ adapter: String) throws -> TrainingRun {
    var network = base
    try network.graft(
      GraftPlan(
        method: adapter, settings: AdapterSettings(rank: rank, alpha: Double(2 * rank)),
        targets: targets.isEmpty ? .allLinear : .names(targets)),
      random: RandomKey(seed: 1))
    guard !network.routesByTask else {
      throw GraftError(
        "adapter '\(adapter)' routes by task, and the benchmark's random tokens have none; time it with 'graft train'")
    }
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
    return TrainingRun(network, AdamW(), settings, on: examples, seed: 3)
  }

  /// The bytes alive between the way forward and the way back, over those before: what a step keeps for its gradients.
  private func kept(_ network: any TextNetwork, _ run: TrainingRun) -> Int {
    let tokens = TokenBatch(run.examples.map(\.ids)), labels = run.examples.flatMap(\.labels)
    func open(_ network: some TextNetwork) -> Int {
      var kept = 0
      let before = Memory.live
      _ = valueAndGradients(of: network) { network in
        let loss = network.lossSum(tokens, labels: labels, Context(recomputes: recomputes)).sum
        kept = Memory.live - before
        return loss
      }
      return kept
    }
    return open(network)
  }

  /// 2 a weight and token forward, 2 for the gradient of the input, 2 for that of what is trained, and the causal half of
  /// attention; nothing for what is computed twice.
  private func usefulFlops(_ network: any TextNetwork, trainable: Int) -> Double {
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

  private func random() throws -> any TextNetwork {
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

import Adapters
import Autodiff
import Files
import Networks
import Training
import Weights

/// How long a training step of a network of images takes.
public struct ImageBenchmark: Sendable {
  /// The names of networks with random weights.
  public static let known = ["efficientnet-lite0", "mobilenet-v2", "resnet18", "resnet50"]

  private let model: String, adapter: String
  private let batch: Int, side: Int, steps: Int
  private let packing: String?

  /// An adapter on a folder's network, or on one of ``known``, over `batch` images of `side` pixels a step; the head learns
  /// too. `packing` rounds the filters first.
  public init(model: String, adapter: String, batch: Int, side: Int, steps: Int, packing: String? = nil) {
    (self.model, self.adapter, self.batch, self.side) = (model, adapter, batch, side)
    (self.steps, self.packing) = (steps, packing)
  }

  /// What was measured.
  public struct Result: Sendable {
    let name: String, adapter: String
    let batch: Int, side: Int, trainable: Int, threads: Int
    let seconds: [Double]
    let kept: Int, peakMemory: Int

    private var median: Double { seconds.sorted()[seconds.count / 2] }

    /// The result as lines of text.
    public var text: String {
      """
      \(name), \(adapter): \(batch) images of \(side) × \(side) a step, \(grouped(trainable)) trainable numbers, \(threads) threads
        step        median \(number(median * 1e3)) ms   min \(number((seconds.min() ?? 0) * 1e3))   max \(number((seconds.max() ?? 0) * 1e3))   (\(seconds.count) steps)
        speed       \(number(Double(batch) / median)) images/s
        kept        \(megabytes(kept)) between the way forward and the way back
        memory      \(megabytes(peakMemory)) peak resident
      """
    }

    /// The result as JSON.
    public var json: JSON {
      .object([
        "name": .string(name), "adapter": .string(adapter), "batch": .integer(batch), "size": .integer(side),
        "trainable": .integer(trainable), "threads": .integer(threads), "median_s": .number(median),
        "min_s": .number(seconds.min() ?? 0), "max_s": .number(seconds.max() ?? 0),
        "kept_mb": .number(Double(kept) / 1e6), "peak_rss_mb": .number(Double(peakMemory) / 1e6),
      ])
    }
  }

  /// Runs the steps.
  ///
  /// - Throws: a ``GraftError`` for an adapter the network has no place for, a `FileError` for a folder that holds none.
  public func measure(threads: Int?) throws -> Result {
    if let threads { Parallel.threads = threads }
    var network = try base()
    if let packing {
      let packing = try Packing(parsing: packing)
      try network.forEachConvolution(throwing: { _, layer in
        // Filters of one channel are too short for a block; they are a hundredth of all numbers.
        if (try? packing.check(rows: layer.base.weight.rows, columns: layer.base.weight.columns)) != nil {
          layer.base.weight = try FrozenWeight(layer.base.weight.unpacked(), packing: packing)
        }
      })
    }
    var plan = GraftPlan(method: adapter)
    if adapter == LoRA.method || adapter == DoRA.method { plan.targets = .pattern(".*(convolution|_proj|fc[12])") }
    plan.modulesToSave = [network.headName]
    try network.graft(plan, random: RandomKey(seed: 1))
    return try measured(network)
  }

  private func measured(_ start: some ImageNetwork) throws -> Result {
    var network = start, optimizer = AdamW()
    let images = Tensor.normal([batch, network.input.channels, side, side], from: RandomKey(seed: 2))
    let classes = Int32(network.head.base.outputs), labels = (0..<batch).map { Int32($0) % classes }
    var kept = 0
    var seconds: [Double] = []
    for step in 0..<steps + 2 {
      let start = secondsNow(), before = Memory.live
      let (_, gradients) = valueAndGradients(of: network) { network in
        let context = Context(random: RandomKey(seed: 3)[step], moments: MomentRecorder())
        let loss = (1 / Float(batch)) * network.lossSum(images, labels: labels, context)
        kept = Memory.live - before
        return loss
      }
      var updated = optimizer.step(network.trainableParameters, gradients: gradients) { _ in 1e-3 }[...]
      network.forEachParameter { _, parameter in
        if parameter.isTrainable, let value = updated.popFirst() { parameter.value = value }
      }
      if step >= 2 { seconds.append(secondsNow() - start) }
    }
    return Result(
      name: model, adapter: adapter, batch: batch, side: side,
      trainable: network.trainableParameters.reduce(0) { $0 + $1.value.count }, threads: Parallel.threads,
      seconds: seconds, kept: kept, peakMemory: ProcessMemory.peak)
  }

  private func base() throws -> any ImageNetwork {
    guard Self.known.contains(model) else { return try ImageCheckpoint(model).network() }
    var keys: [String: JSON] = ["image_size": .integer(side), "num_labels": .integer(10)]
    switch model {
    case "efficientnet-lite0": keys["model_type"] = .string("efficientnet-lite")
    case "mobilenet-v2": keys["model_type"] = .string("mobilenet_v2")
    default:
      keys["model_type"] = .string("resnet")
      if model == "resnet18" {
        keys["layer_type"] = .string("basic")
        keys["hidden_sizes"] = .array([64, 128, 256, 512].map(JSON.integer))
        keys["depths"] = .array([2, 2, 2, 2].map(JSON.integer))
      }
    }
    return try ImageCheckpoint(configuration: .object(keys), path: model).network(
      from: RandomWeights(RandomKey(seed: 4)))
  }
}

import Autodiff
import CKernels
import Files
import Networks
import Weights

/// How fast a model reads and writes, and how much of the memory's bandwidth writing uses.
public struct DecodingBenchmark: Sendable {
  private let prompt: Int, tokens: Int

  /// A prompt of `prompt` tokens, and `tokens` written behind it.
  public init(prompt: Int, tokens: Int) { (self.prompt, self.tokens) = (prompt, tokens) }

  /// What was measured.
  public struct Result: Sendable {
    let name: String
    let promptRate: Double, writingRate: Double
    let weightBytes: Int
    let bandwidth: Double
    let peakMemory: Int

    /// Bytes of weights read a second while writing.
    private var traffic: Double { Double(weightBytes) * writingRate }

    /// The result as lines of text.
    public var text: String {
      """
      \(name): \(megabytes(weightBytes)) of weights
        reading     \(number(promptRate)) tokens/s
        writing     \(number(writingRate)) tokens/s, which reads \(number(traffic / 1e9)) GB/s of weights
        machine     \(number(bandwidth / 1e9)) GB/s of memory read by all threads, so \(percent(traffic / bandwidth)) of it
        memory      \(megabytes(peakMemory)) peak resident
      """
    }

    /// The result as JSON.
    public var json: JSON {
      .object([
        "name": .string(name), "prompt_tokens_per_s": .number(promptRate), "decode_tokens_per_s": .number(writingRate),
        "weight_gb_per_s": .number(traffic / 1e9), "read_gb_per_s": .number(bandwidth / 1e9),
        "peak_rss_mb": .number(Double(peakMemory) / 1e6),
      ])
    }
  }

  /// Reads a random prompt and writes greedily.
  ///
  /// - Throws: a ``FileError`` when the model writes no text.
  public func measure(_ model: LoadedModel, threads: Int? = nil) throws -> Result {
    if let threads { Parallel.threads = threads }
    let network = try model.requireLanguageModel()
    var stream = RandomKey(seed: 1).generator
    let ids = (0..<prompt).map { _ in Int32.random(in: 0..<Int32(network.vocabularySize), using: &stream) }
    _ = network.logits(network.states(Array(ids.prefix(16)), cache: network.makeCache()), Context())
    let reading = fastest(3) { _ = network.states(TokenBatch([ids]), Context()) }
    let cache = network.makeCache()
    var states = network.states(ids, cache: cache)
    let started = secondsNow()
    for _ in 0..<tokens {
      let last = states.rows(states.shape[0] - 1..<states.shape[0])
      states = network.states([Int32(network.logits(last, Context()).rowArgmax[0])], cache: cache)
    }
    let writing = secondsNow() - started
    return Result(
      name: model.checkpoint.path, promptRate: Double(prompt) / reading, writingRate: Double(tokens) / writing,
      weightBytes: model.bytesReadAToken, bandwidth: bandwidth(), peakMemory: ProcessMemory.peak)
  }

  private func fastest(_ times: Int, _ body: () -> Void) -> Double {
    (0..<times).map { _ in
      let start = secondsNow()
      body()
      return secondsNow() - start
    }.min() ?? 0
  }

  private func bandwidth() -> Double {
    let threads = Parallel.threads, count = 1 << 25
    let buffers = (0..<threads).map { _ in Tensor.zeros([count]) }
    let rates = Tensor(shape: [threads]) { place in
      Parallel.forEach(threads) { index in
        place[index] = buffers[index].withValues { values in
          values.baseAddress.map { Float(graft_read_bandwidth($0, count * 4, 0.2)) } ?? 0
        }
      }
    }
    return rates.values.reduce(0) { $0 + Double($1) * 1e9 }
  }
}

extension LoadedModel {
  /// The bytes of weights that writing one token reads: every matrix, and the embedding where it is the head.
  var bytesReadAToken: Int {
    var copy = network
    var bytes = 0
    copy.forEachLinear { bytes += $1.base.weight.byteCount }
    if network.tiesHead { copy.forEachEmbedding { bytes += $1.base.weight.byteCount } }
    return bytes
  }
}

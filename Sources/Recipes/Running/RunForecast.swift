import Autodiff
import Glibc
import Text
import Training

/// What a run will need, from passes forward and back whose results are thrown away: better refused now than killed by
/// the system on the longest row, hours in.
struct RunForecast {
  /// Bytes resident at most, mapped weights included.
  let memory: Int
  /// Bytes the run may take.
  let limit: Int
  /// Seconds for the steps that are left.
  let seconds: Double

  /// A micro-batch of up to this many tokens is tried as it is; from a longer one's size a line is drawn.
  private static let tokensTried = 512

  /// Tries the longest micro-batch that the run could draw.
  init(_ training: TrainingRun, limitGB: Double?) {
    let longest = training.examples.sorted { $0.ids.count > $1.ids.count }.prefix(training.settings.batchSize)
    let tokens = longest.reduce(0) { $0 + $1.ids.count }
    var peak: Int
    let last: (bytes: Int, seconds: Double, tokens: Int)
    if tokens <= Self.tokensTried {
      last = Self.measure(training, Array(longest))
      peak = last.bytes
    } else {
      let half = Self.measure(training, Self.shortened(longest, to: Self.tokensTried / 2, of: tokens))
      last = Self.measure(training, Self.shortened(longest, to: Self.tokensTried, of: tokens))
      let slope = Double(last.bytes - half.bytes) / Double(max(1, last.tokens - half.tokens))
      peak = last.bytes + Int(slope * Double(tokens - last.tokens))
    }
    // The sums of a step and both moments of the optimiser, none of which exists yet.
    peak += 3 * 4 * training.model.trainableParameters.reduce(0) { $0 + $1.value.count }
    memory = ProcessMemory.resident - (Memory.reserved - Memory.live) + peak
    // Where batches are longer than what was tried, no step asks again for buffers of the trial's sizes.
    Memory.releaseCache()
    limit = limitGB.map { Int($0 * 1e9) } ?? ProcessMemory.available + ProcessMemory.resident
    let mean = Double(training.examples.reduce(0) { $0 + $1.ids.count }) / Double(training.examples.count)
    let window = training.settings.batchSize * training.settings.accumulation
    let steps = Double(training.totalSteps - training.step)
    seconds = last.seconds / Double(max(1, last.tokens)) * mean * steps * Double(min(window, training.examples.count))
  }

  private static func measure(
    _ training: TrainingRun, _ examples: [Example]
  ) -> (bytes: Int, seconds: Double, tokens: Int) {
    let live = Memory.live
    Memory.resetPeak()
    let started = secondsNow()
    training.rehearse(examples)
    return (Memory.peak - live, secondsNow() - started, examples.reduce(0) { $0 + $1.ids.count })
  }

  /// The examples cut to a share of their length and supervised whole, so that the head's logits fill their chunk.
  private static func shortened(_ examples: ArraySlice<Example>, to wanted: Int, of tokens: Int) -> [Example] {
    examples.map { example in
      let count = max(2, example.ids.count * wanted / tokens)
      var short = example
      (short.ids, short.segments) = (Array(example.ids.prefix(count)), Array(example.segments.prefix(count)))
      if !short.isClassified { short.labels = short.ids }
      return short
    }
  }

  /// The line of the header.
  var line: String {
    "forecast  \(megabytes(memory)) of memory at most, of \(megabytes(limit)) allowed; about \(duration(seconds)) of training"
  }

  /// - Throws: a ``TrainingError`` when the run would take more than it may.
  func check() throws {
    guard memory > limit else { return }
    throw TrainingError(
      "the longest micro-batch would take \(megabytes(memory)) of memory, more than the \(megabytes(limit)) allowed; set train.activation_checkpointing: true, a smaller train.batch_size or data.max_seq_len, or raise train.memory_limit_gb"
    )
  }
}

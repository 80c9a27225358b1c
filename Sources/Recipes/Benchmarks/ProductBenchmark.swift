import Autodiff
import CKernels
import Files
import Glibc
import Weights

/// How fast a vector is multiplied by a packed matrix, which is what writing a token consists of.
public struct ProductBenchmark: Sendable {
  /// The packings measured where none are named.
  public static let usual = ["q4_0", "q4_1", "q8_0", "int4-g64", "nf4"]

  private let packings: [String]
  private let bytes: Int, columns: Int, rounds: Int

  /// Matrices of about `megabytes`, `columns` wide, in each of `packings`; all is measured `rounds` times over.
  public init(packings: [String], megabytes: Int, columns: Int, rounds: Int) {
    self.packings = packings.isEmpty ? Self.usual : packings
    (bytes, self.columns, self.rounds) = (megabytes << 20, columns, rounds)
  }

  /// Bytes or values a second on one thread and on all.
  struct Rates: Sendable {
    var one = 0.0, all = 0.0

    /// Whatever else the machine does only slows, so the best of several is nearest to what it can do.
    mutating func raise(one first: Double, all second: Double) { (one, all) = (max(one, first), max(all, second)) }
  }

  /// What was measured of one packing.
  public struct Result: Sendable {
    let name: String
    let bytesAValue: Double
    let threads: Int
    /// Bytes of packed matrix a second; the matrix in memory, in the cache nearest to the core, and merely read.
    var product = Rates(), cached = Rates(), memory = Rates()
    /// Bytes a second that the multiply-adds alone would allow.
    var arithmetic = Rates()

    private func line(_ name: String, _ rate: KeyPath<Rates, Double>) -> String {
      let limit = min(memory[keyPath: rate], cached[keyPath: rate])
      let binds = memory[keyPath: rate] < cached[keyPath: rate] ? "memory" : "arithmetic"
      let product = product[keyPath: rate]
      return
        "  \(name)  \(number(product / 1e9)) GB/s   memory \(number(memory[keyPath: rate] / 1e9))   arithmetic \(number(cached[keyPath: rate] / 1e9)) (multiply-adds alone \(number(arithmetic[keyPath: rate] / 1e9)))   \(binds) binds, \(percent(product / limit)) of it"
    }

    /// The result as lines of text.
    public var text: String {
      """
      \(name): \(number(product.one / bytesAValue / 1e9)) × 10⁹ values a second on one thread
      \(line("one thread ", \.one))
      \(line("\(threads) threads  ", \.all))
      """
    }

    /// The result as JSON.
    public var json: JSON {
      func rates(_ rates: Rates) -> JSON {
        .object(["one_thread": .number(rates.one / 1e9), "all_threads": .number(rates.all / 1e9)])
      }
      return .object([
        "packing": .string(name), "threads": .integer(threads), "product_gb_per_s": rates(product),
        "read_gb_per_s": rates(memory), "cached_gb_per_s": rates(cached), "multiply_adds_gb_per_s": rates(arithmetic),
        "fraction": rates(
          Rates(
            one: 1e9 * product.one / min(memory.one, cached.one),
            all: 1e9 * product.all / min(memory.all, cached.all))),
      ])
    }
  }

  /// What holds for all results.
  public static var legend: String {
    """
    best of several rounds, in which all that is compared takes turns; one thread by the time it had a processor, all by
    the clock
    memory      bytes read a second from a buffer as large, by adding up its words
    arithmetic  the same kernel on a matrix in the first cache, on all threads at once
    kernels     \(["portable", "AVX2", "AVX-512"][Int(graft_processor_level().rawValue)])
    """
  }

  /// Multiplies.
  ///
  /// - Throws: when a packing is unknown or does not take so many columns.
  public func measure(threads: Int?) throws -> [Result] {
    if let threads { Parallel.threads = threads }
    let threads = Parallel.threads
    defer { Parallel.threads = threads }
    let buffer = Tensor.zeros([bytes / 4])
    return try packings.map { name in
      let packing = try Packing(parsing: name)
      // The largest that fits the first cache with its vector, so that what a call costs once weighs little.
      let small = try FrozenWeight(
        Tensor.normal([24, min(columns, 1024)], from: RandomKey(seed: 1)), packing: packing)
      let rows = try FrozenWeight(Tensor.normal([64, columns], from: RandomKey(seed: 2)), packing: packing)
      let large = try rows.stacked(max(1, bytes / rows.byteCount))
      let x = Tensor.normal([columns], from: RandomKey(seed: 3))
      let y = Storage(uninitialized: max(large.rows, small.rows))
      func multiply(_ matrix: FrozenWeight, times: Int = 1) {
        for _ in 0..<times { matrix.multiply(x.pointer, tokens: 1, into: y.pointer) }
      }
      var result = Result(
        name: packing.name, bytesAValue: Double(rows.byteCount) / Double(rows.rows * columns), threads: threads)
      for _ in 0..<rounds {
        Parallel.threads = 1
        // Two passes: `graft_read_bandwidth` begins with one that it does not time.
        let memory = withExtendedLifetime(buffer) {
          processorSeconds { _ = graft_read_bandwidth(buffer.pointer, buffer.count * 4, 0) }
        }
        let single = processorSeconds { multiply(large) }
        let cached = (0..<5).map { _ in processorSeconds { multiply(small, times: 200) } / 200 }.min() ?? 0
        let flops = graft_fma_peak(0.005) * 1e9
        Parallel.threads = threads
        let start = secondsNow()
        multiply(large)
        let all = secondsNow() - start, near = Double(small.byteCount) / cached
        let together = cachedRate(small, x, threads: threads)
        result.memory.raise(one: Double(buffer.count * 8) / memory, all: readRate(buffer, threads: threads))
        result.product.raise(one: Double(large.byteCount) / single, all: Double(large.byteCount) / all)
        result.cached.raise(one: near, all: together)
        let bound = flops / 2 / multiplyAdds(packing) * result.bytesAValue
        result.arithmetic.raise(one: bound, all: bound * Double(threads))
      }
      return result
    }
  }

  /// Multiply-adds a value: its own, and that of the scale with the sum of as many products as a block has for each lane
  /// of a register.
  private func multiplyAdds(_ packing: Packing) -> Double {
    let lanes = [4.0, 8, 16][Int(graft_processor_level().rawValue)]
    return packing.blockSize == 1 ? 1 : 1 + lanes / Double(packing.blockSize)
  }

  /// How long the calling thread had a processor during `body`: what others do meanwhile costs it caches alone.
  private func processorSeconds(_ body: () -> Void) -> Double {
    func now() -> Double {
      var time = timespec()
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
      return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
    }
    let start = now()
    body()
    return now() - start
  }

  /// Bytes of packed matrix a second where every thread multiplies one in its own cache: processors that share a core do
  /// less together than as many alone.
  private func cachedRate(_ matrix: FrozenWeight, _ x: Tensor, threads: Int) -> Double {
    let times = 2000
    let start = secondsNow()
    Parallel.forEach(threads) { _ in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: matrix.rows) { place in
        guard let place = place.baseAddress else { return }
        for _ in 0..<times { matrix.multiply(rows: 0..<matrix.rows, by: x.pointer, into: place) }
      }
    }
    return Double(threads * times * matrix.byteCount) / (secondsNow() - start)
  }

  /// Bytes read a second by so many threads, each from a part of its own.
  private func readRate(_ buffer: Tensor, threads: Int) -> Double {
    let share = buffer.count / threads / 1024 * 1024
    let rates = Tensor(shape: [threads]) { place in
      Parallel.forEach(threads) { index in
        place[index] = Float(graft_read_bandwidth(buffer.pointer + index * share, share * 4, 0.02))
      }
    }
    return rates.values.reduce(0) { $0 + Double($1) * 1e9 }
  }
}

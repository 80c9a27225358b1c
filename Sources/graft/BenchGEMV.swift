import ArgumentParser
import Files
import Recipes

/// Measures the product of a packed matrix and a vector.
struct BenchGEMV: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gemv",
    abstract: "Time a packed matrix times a vector, against memory and arithmetic measured in the same run.",
    discussion: """
      EXAMPLES
        graft bench gemv
        graft bench gemv --packing q4_0 --packing int4-g64 --columns 4096
      """)

  @Option(help: "A packing; may be repeated. \(ProductBenchmark.usual.joined(separator: ", ")) if left out.")
  var packing: [String] = []
  @Option(help: "Megabytes of matrix, more than the caches hold.") var megabytes = 128
  @Option(help: "Columns.") var columns = 2048
  @Option(help: "Rounds, of which the best counts.") var rounds = 12
  @Option(help: "Threads.") var threads: Int?
  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    guard (1...8192).contains(megabytes), (1...1 << 16).contains(columns), rounds > 0 else {
      throw UsageError(
        description: "--megabytes must be 1 to 8192, --columns 1 to 65536, and --rounds at least 1")
    }
    let results = try ProductBenchmark(
      packings: packing, megabytes: megabytes, columns: columns, rounds: rounds
    ).measure(threads: threads)
    if json { return Console.result(JSON.array(results.map(\.json)).text(pretty: true)) }
    for result in results { Console.result(result.text) }
    Console.result(ProductBenchmark.legend)
  }
}

import Adapters
import ArgumentParser
import Autodiff
import Recipes

/// Makes one adapter of several.
struct Combine: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make one plain LoRA adapter of several, each with a weight.",
    discussion: """
      cat        the weighted sum itself; ranks add up
      svd        the closest to the weighted sum of rank --rank
      linear     sums of A and sums of B, as PEFT's 'linear': equal ranks, and cross terms beside the sum
      ties       keep the largest numbers, elect a sign, average those that agree
      dare       keep random numbers and scale them up, then add; dare-ties elects a sign instead
      prune      keep the largest numbers, then add
      The last four look at each layer's change s B A and cut the result to --rank; with --ground factors they look at A
      and B, as PEFT's methods without 'svd' in their name do. Prints, a layer, the share of the energy cut off.

      EXAMPLES
        graft combine both --adapter runs/a/adapter --adapter runs/b/adapter=0.5
        graft combine small --adapter a --adapter b --method svd --rank 8
        graft combine merged --adapter a --adapter b --method ties --density 0.2
      """)

  @Argument(help: "The folder to write.") var output: String
  @Option(help: "An adapter's folder and its weight, 1 if left out; once for each.") var adapter: [String]
  @Option(help: "cat, svd, linear, ties, dare, dare-ties or prune.") var method = "cat"
  @Option(help: "The rank of the result; the largest of the adapters' if left out.") var rank: Int?
  @Option(help: "The share of numbers that ties, dare and prune keep, such as 0.2.") var density: Double?
  @Option(help: "total (the larger movement) or frequency (the majority) elects a sign.") var signs: String?
  @Option(help: "change or factors: what is pruned.") var ground: String?
  @Option(help: "Where dare draws from.") var seed: UInt64?
  @Flag(help: "Accept adapters that were trained on different bases.") var anyBase = false
  @Flag(help: "Replace an adapter that is there already.") var overwrite = false

  func run() throws {
    guard let method = Combination.Method(rawValue: method) else {
      let names = Combination.Method.allCases.map(\.rawValue).joined(separator: ", ")
      throw UsageError(description: "--method \(method): expected one of \(names)")
    }
    guard !adapter.isEmpty else { throw UsageError(description: "give at least one --adapter") }
    var combination = Combination(method)
    (combination.rank, combination.density) = (rank, density)
    if let signs {
      guard method.elects, let election = SignElection(rawValue: signs) else {
        throw UsageError(description: "--signs \(signs): expected total or frequency, with ties or dare-ties")
      }
      combination.signs = election
    }
    if let ground {
      guard let choice = Combination.Ground(rawValue: ground) else {
        throw UsageError(description: "--ground \(ground): expected change or factors")
      }
      combination.ground = choice
    }
    if let seed {
      guard method == .dare || method == .dareTies else {
        throw UsageError(description: "--seed \(seed): '\(method.rawValue)' draws nothing")
      }
      combination.random = RandomKey(seed: seed)
    }
    var job = CombineJob(combination)
    (job.anyBase, job.overwrites) = (anyBase, overwrite)
    let report = try job.write(try adapter.map(Self.weighted), to: output)
    Console.result(report.text + "\nwrote \(output)")
  }

  /// `DIR=WEIGHT` or `DIR`.
  private static func weighted(_ text: String) throws -> (folder: String, weight: Double) {
    guard let sign = text.lastIndex(of: "="), !text[sign...].contains("/") else { return (text, 1) }
    let folder = String(text[..<sign]), number = text[text.index(after: sign)...]
    guard let weight = Double(number), weight.isFinite, !folder.isEmpty else {
      throw UsageError(description: "--adapter \(text): '\(number)' is no weight")
    }
    return (folder, weight)
  }
}

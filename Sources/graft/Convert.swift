import ArgumentParser
import Recipes

/// Turns an adapter into plain LoRA, or one of many tasks into PEFT's Poly.
struct Convert: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Turn an adapter of any family into plain LoRA, exactly where that can be, and say how far off elsewhere; or one that routes by task into PEFT's Poly.",
    discussion: """
      Factors that an adapter has are taken as they are, or cut to --rank. A change that is no product of two factors, as
      DoRA's, becomes the closest one of rank --rank; that needs the base. Prints each layer's relative error.

      --to poly takes alpha into the factors B, for PEFT has none: exact when alpha is a power of two, else but for one
      rounding of each of their numbers. PEFT's Poly stands on torch.nn.Linear, so not on GPT-2, and warns of the key
      'graft', which keeps the tasks' names.

      EXAMPLES
        graft convert runs/dora/adapter --to lora --base smollm2 --rank 16 --output plain
        graft convert rslora --to lora --rank 4 --output smaller
        graft convert runs/mhr/adapter --to lora --base smollm2 --task history --output history
        graft convert runs/mhr/adapter --to poly --output poly
      """)

  @Argument(help: "The adapter's folder.") var adapter: String
  @Option(help: "lora or poly.") var to: String
  @Option(name: .shortAndLong, help: "The folder to write.") var output: String
  @Option(help: "The model the adapter was trained on; needed where the change depends on it.") var base: String?
  @Option(help: "The largest rank of a layer; the adapter's own if left out.") var rank: Int?
  @Option(help: "The task whose change is wanted, for an adapter of several.") var task: String?
  @Flag(help: "Accept an adapter that was trained on another base.") var anyBase = false
  @Flag(help: "Replace an adapter that is there already.") var overwrite = false

  func run() throws {
    var job = ConvertJob()
    if to == "poly" {
      guard rank == nil, base == nil, task == nil else {
        throw UsageError(description: "--rank, --base and --task belong to --to lora; a Poly folder holds every task")
      }
      job.overwrites = overwrite
      Console.result("\(try job.writePoly(adapter, to: output).text)\nwrote \(output)")
      return
    }
    guard to == "lora" else { throw UsageError(description: "--to \(to): expected lora or poly") }
    (job.rank, job.base, job.task) = (rank, base, task)
    (job.anyBase, job.overwrites) = (anyBase, overwrite)
    let report = try job.write(adapter, to: output)
    Console.result(report.text + "\nwrote \(output)")
  }
}

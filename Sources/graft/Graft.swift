import ArgumentParser
import Autodiff
import Glibc
import Recipes

/// The command line: arguments in, text out. Results go to standard output, progress and errors to standard error.
@main
struct Graft: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "graft",
    abstract: "Fine-tune the model you have on the machine you have, and get back a file you can prove is right.",
    discussion: """
      EXAMPLES
        graft fetch smollm2
        graft train Recipes/lora-smollm2-trivia.yaml train.learning_rate=1e-4
        graft generate smollm2 --adapter runs/lora-smollm2-trivia/adapter --prompt "Who was the 37th President?"

      EXIT CODES
        0    did what was asked, and the result can be used
        1    the run failed: loss not finite, memory limit, something cannot be written
        2    the command line or the recipe is wrong; nothing was started
        3    a model, adapter or data file is missing, malformed, or does not fit
        4    done, but a check failed: the merged model is not faithful
        130  interrupted (143: terminated); what there is to go on from was saved, and its path printed

      ENVIRONMENT
        GRAFT_KERNELS=portable or avx2 keeps Graft's own kernels, not OpenBLAS's, no wider than these, to compare results.

      A MODEL is a Hugging Face folder, a .gguf file, or a name that 'graft ls' lists.
      """,
    version: graftVersion,
    subcommands: [
      Train.self, Resume.self, Compare.self, Sequence.self, Quantize.self, Merge.self, Combine.self, Convert.self,
      Import.self,
      Export.self, Generate.self,
      Classify.self, Perplexity.self, Divergence.self, Logits.self, Inspect.self,
      Validate.self, ImageData.self, Fetch.self, Bench.self, List.self,
    ])

  /// Kernels that there are none of would leave the processor's in use, and nobody would know.
  private static func checkEnvironment() throws {
    guard let name = getenv("GRAFT_KERNELS").map({ String(cString: $0) }), !name.isEmpty else { return }
    guard ["portable", "avx2"].contains(name) else {
      throw UsageError(description: "GRAFT_KERNELS is '\(name)'; expected portable or avx2, or leave it unset")
    }
  }

  static func main() {
    // A file opened where standard output is closed would take its place, and the results.
    for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
      _ = open("/dev/null", O_RDONLY)
    }
    Interruption.unblock()
    Memory.whenExhausted { Failure.end(withoutMemoryFor: $0) }
    do {
      try checkEnvironment()
      var command = try parseAsRoot()
      if command is any Interruptible { Interruption.watch() }
      if command is any WritingOnce { Interruption.answer() }
      try command.run()
    } catch {
      Failure.end(with: error)
    }
  }
}

/// A command that ends soon after a signal by itself, once what it needs to go on is saved. Others end at once.
protocol Interruptible {}

/// A command whose result appears whole at its end. A signal ends it at once, and it says what is left.
protocol WritingOnce {}

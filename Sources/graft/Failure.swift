import Adapters
import ArgumentParser
import Autodiff
import Files
import Glibc
import Networks
import Quantizing
import Recipes
import Training
import Weights

/// An end that is no error of its own: a code other than 0 after everything has been said.
struct Ending: Error { let code: Int32 }

/// A wrong use of the command line, found after it was parsed.
struct UsageError: Error, CustomStringConvertible { let description: String }

/// Turns errors into one message and a documented exit code.
enum Failure {
  static func end(with error: any Error) -> Never {
    Interruption.settle()
    if let ending = error as? Ending { exit(ending.code) }
    if let problem = error as? RecipeError {
      Console.error("\(problem)  (exit 2)")
      exit(2)
    }
    if let code = code(of: error) {
      Console.error("error: \(error)  (exit \(code))")
      exit(code)
    }
    // What is left is the argument parser's own: help and version, or a command line it cannot read.
    let message = Graft.fullMessage(for: error)
    if Graft.exitCode(for: error) == .success {
      Console.result(message)
      exit(0)
    }
    Console.error(message)
    exit(2)
  }

  /// The system has no memory for a tensor; on whichever thread that is.
  static func end(withoutMemoryFor bytes: Int) -> Never {
    Interruption.settle()
    Console.error(
      "error: out of memory: \(megabytes(bytes)) for one tensor could not be had; take smaller batches or shorter rows, or train "
        + "with train.activation_checkpointing=true  (exit 1)")
    // Other threads may be computing, and what `exit` tears down is in their use.
    _exit(1)
  }

  private static func code(of error: any Error) -> Int32? {
    switch error {
    case is UsageError, is OutputError, is GraftError, is TaskError, is QuantizationError, is MergeError: 2
    case let error as FileError where error.isOutput: 1
    case is FileError, is PackingError, is AdapterOptionError: 3
    case is TrainingError, is DecompositionError: 1
    default: nil
    }
  }
}

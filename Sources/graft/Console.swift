import Files
import Glibc
import Recipes
import Training

/// Where text goes: results to standard output, everything else to standard error.
enum Console {
  static func result(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }
  static func error(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

  /// Text without a line end, at once.
  static func partial(_ text: String) { write(text, to: STDOUT_FILENO) }

  private static func write(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count > 0 {
        bytes = bytes.dropFirst(count)
      } else if errno != EINTR {
        // Whoever read the results has gone, as `| head` does: there is no one left to work for.
        guard descriptor == STDOUT_FILENO else { return }
        if errno == EPIPE { exit(0) }
        error("error: standard output: cannot be written: \(systemMessage(errno))  (exit 1)")
        exit(1)
      }
    }
  }

  /// Whether a person watches, so that a line may be redrawn.
  private static let isTerminal = isatty(2) == 1 && getenv("NO_COLOR") == nil && getenv("CI") == nil

  /// Shows what a run tells: a live line for steps on a terminal, else one line a report.
  static func show(_ event: Run.RunEvent, of total: Int) {
    switch event {
    case .line(let text): error((isTerminal ? "\r\u{1b}[K" : "") + text)
    case .step(let step, let speed, let left, let resident):
      let line =
        "step \(step.step)/\(total)  loss \(number(step.loss))  lr \(number(step.learningRate))  |g| \(number(step.gradientNorm))  \(number(speed)) tokens/s  left \(duration(left))  \(megabytes(resident))"
      if isTerminal {
        write("\r\u{1b}[K" + line, to: STDERR_FILENO)
      } else {
        error(line)
      }
    }
  }
}

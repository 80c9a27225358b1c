import Files
import Glibc
import Synchronization

/// Ctrl-C and termination, noted rather than obeyed at once: a run finishes its step, saves, and ends.
public enum Interruption {
  private static let received = Atomic<Int32>(0)

  /// Lets signals through, as every program here should: to a watch, or to end the process at once.
  public static func unblock() {
    // A program started from a thread that blocks signals inherits the block.
    var both = sigset_t()
    sigemptyset(&both)
    sigaddset(&both, SIGINT)
    sigaddset(&both, SIGTERM)
    pthread_sigmask(SIG_UNBLOCK, &both, nil)
    // A reader that goes away, such as `| head`, is an error of writing and not the end of the process.
    Glibc.signal(SIGPIPE, SIG_IGN)
  }

  /// Notes SIGINT and SIGTERM from now on, for work that looks at ``signal``; a second one ends the process at once.
  public static func watch() {
    for signal in [SIGINT, SIGTERM] {
      Glibc.signal(signal) { number in
        if Interruption.received.exchange(number, ordering: .relaxed) != 0 { _exit(128 + number) }
      }
    }
  }

  /// What a signal finds of a command whose result appears whole at its end.
  private enum Stage {
    /// Nothing has its name yet. What is left, and where it was going.
    case unfinished(left: String, output: ModelOutput?)
    /// All is written, and is being put in place, which takes no time.
    case settled
    /// The same, and one signal has come.
    case urged
  }

  private static let stage = Mutex(Stage.unfinished(left: "nothing was written", output: nil))

  /// Where a signal leaves its number for the thread that answers it.
  private static let bell = Atomic<Int32>(-1)

  /// Ends the process at SIGINT and SIGTERM from now on, once unfinished files are removed and a line tells what is left.
  ///
  /// Little can be done where a signal interrupts, so its number goes to a thread of its own. Signals are not blocked and
  /// waited for: the BLAS starts a thread before the program does, which would take them.
  public static func answer() {
    var ends: [Int32] = [-1, -1]
    // Without a pipe signals end the process as they always do.
    guard pipe(&ends) == 0 else { return }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    bell.store(ends[1], ordering: .relaxed)
    let listening = UnsafeMutableRawPointer(bitPattern: UInt(ends[0]))
    var thread = pthread_t()
    let failure = pthread_create(
      &thread, nil,
      { listening in
        Interruption.awaitSignals(Int32(Int(bitPattern: listening)))
        return nil
      }, listening)
    guard failure == 0 else { return }
    for signal in [SIGINT, SIGTERM] {
      let before = Glibc.signal(signal) { number in
        var byte = UInt8(truncatingIfNeeded: number)
        _ = write(Interruption.bell.load(ordering: .relaxed), &byte, 1)
      }
      // What was started in the background is not meant by Ctrl-C: 1 is SIG_IGN, which Swift cannot compare.
      if unsafeBitCast(before, to: Int.self) == 1 { Glibc.signal(signal, SIG_IGN) }
    }
  }

  private static func awaitSignals(_ listening: Int32) {
    var byte: UInt8 = 0
    while read(listening, &byte, 1) == 1 {
      let number = Int32(byte)
      stage.withLock { stage in
        switch stage {
        case .unfinished(let left, let output):
          output?.abandon()
          let line = Array("interrupted: \(left)\n".utf8)
          _ = write(STDERR_FILENO, line, line.count)
          // The lock is held until the end: what fails for want of the files that were removed is never told.
          _exit(128 + number)
        case .settled: stage = .urged
        case .urged: _exit(128 + number)
        }
      }
    }
  }

  /// Says what a signal from now on leaves.
  static func leave(_ left: String) {
    stage.withLock { if case .unfinished(_, let output) = $0 { $0 = .unfinished(left: left, output: output) } }
  }

  /// Says what is being written from now on.
  static func begin(_ output: ModelOutput) {
    stage.withLock { if case .unfinished(let left, _) = $0 { $0 = .unfinished(left: left, output: output) } }
  }

  /// To be called when all is written, before it is put in place, and before a failure is told: a signal from now on ends
  /// the process after that. Does not return where one has come already and the process is ending.
  public static func settle() {
    stage.withLock { $0 = .settled }
  }

  /// The signal that has come, if one has.
  public static var signal: Int32? {
    let number = received.load(ordering: .relaxed)
    return number == 0 ? nil : number
  }
}

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

  /// The signal that has come, if one has.
  public static var signal: Int32? {
    let number = received.load(ordering: .relaxed)
    return number == 0 ? nil : number
  }
}

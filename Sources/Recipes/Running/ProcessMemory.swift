import Glibc

/// What the system says this process holds in memory, mapped files included, in bytes.
public enum ProcessMemory {
  /// What the machine has.
  public static var machine: Int { sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)) }
  /// Now.
  public static var resident: Int { field("VmRSS:", of: "/proc/self/status") }
  /// At most so far.
  public static var peak: Int { field("VmHWM:", of: "/proc/self/status") }
  /// What the system could still give, or the process's control group where that is less.
  public static var available: Int {
    let free = field("MemAvailable:", of: "/proc/meminfo")
    guard let most = number(in: "/sys/fs/cgroup/memory.max"), let used = number(in: "/sys/fs/cgroup/memory.current")
    else { return free }
    return max(0, min(free, most - used))
  }

  private static func number(in path: String) -> Int? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var value = 0
    return withUnsafeMutablePointer(to: &value) { pointer in
      withVaList([pointer]) { vfscanf(file, "%ld", $0) } == 1 ? pointer.pointee : nil
    }
  }

  private static func field(_ name: String, of path: String) -> Int {
    guard let file = fopen(path, "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      guard text.hasPrefix(name) else { continue }
      return (text.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0) * 1024
    }
    return 0
  }
}

/// Seconds on a clock that never jumps.
public func secondsNow() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
}

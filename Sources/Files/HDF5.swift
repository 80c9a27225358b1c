import CHDF5
import Glibc

/// An element of a dataset, and how files hold it.
public protocol HDF5Element: BitwiseCopyable, Sendable {
  /// What messages call it.
  static var hdf5Name: String { get }
  /// The type in memory, as the library numbers types, and the types in a file that are read as it.
  static var hdf5Types: (memory: Int64, stored: [Int64]) { get }
  /// The zero that a dataset is read over.
  static var zero: Self { get }
}

extension Float: HDF5Element {
  /// What messages call it.
  public static var hdf5Name: String { "32-bit floats" }
  /// Either byte order is read.
  public static var hdf5Types: (memory: Int64, stored: [Int64]) {
    (graft_H5T_NATIVE_FLOAT(), [graft_H5T_IEEE_F32LE(), graft_H5T_IEEE_F32BE()])
  }
}

extension Int64: HDF5Element {
  /// What messages call it.
  public static var hdf5Name: String { "64-bit integers" }
  /// Either byte order is read.
  public static var hdf5Types: (memory: Int64, stored: [Int64]) {
    (graft_H5T_NATIVE_INT64(), [graft_H5T_STD_I64LE(), graft_H5T_STD_I64BE()])
  }
}

extension Int32: HDF5Element {
  /// What messages call it.
  public static var hdf5Name: String { "32-bit integers" }
  /// Either byte order is read.
  public static var hdf5Types: (memory: Int64, stored: [Int64]) {
    (graft_H5T_NATIVE_INT32(), [graft_H5T_STD_I32LE(), graft_H5T_STD_I32BE()])
  }
}

extension UInt8: HDF5Element {
  /// What messages call it.
  public static var hdf5Name: String { "bytes" }
  /// The library tells byte orders apart even here.
  public static var hdf5Types: (memory: Int64, stored: [Int64]) {
    (graft_H5T_NATIVE_UINT8(), [graft_H5T_STD_U8LE(), graft_H5T_STD_U8BE()])
  }
}

/// A dataset's numbers, row after row.
public struct HDF5Array<Element: HDF5Element>: Sendable {
  /// The sizes, outermost first.
  public let shape: [Int]
  /// The numbers.
  public let values: [Element]
}

/// The library, which is not safe to enter from two threads at once and prints its own errors unless told not to.
enum HDF5Library {
  private static let turn = Turn()

  /// Runs `body` alone and in silence; `body` may itself enter again, to read one file while it writes another.
  static func enter<R>(_ body: () throws -> R) rethrows -> R {
    pthread_mutex_lock(turn.mutex)
    defer { pthread_mutex_unlock(turn.mutex) }
    // The setting is a thread's own where the library was built for threads.
    H5Eset_auto2(0, nil, nil)
    // A file must not make the process load code: filters come from the library itself or not at all.
    H5PLset_loading_state(0)
    errno = 0
    return try body()
  }

  /// A lock that the thread holding it may take again, which `Mutex` is not; never changed once it is made.
  private final class Turn: @unchecked Sendable {
    let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    init() {
      // A file is written under another name and only read afterwards, so that locks protect nothing; but a program started
      // meanwhile inherits them, some file systems have none, and opening then fails.
      setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0)
      // Files are closed here one by one. What a damaged one left open the library would complain of, in print, when the
      // process ends.
      H5dont_atexit()
      var attributes = pthread_mutexattr_t()
      pthread_mutexattr_init(&attributes)
      pthread_mutexattr_settype(&attributes, Int32(PTHREAD_MUTEX_RECURSIVE))
      pthread_mutex_init(mutex, &attributes)
      pthread_mutexattr_destroy(&attributes)
    }
  }

  /// Why the call before failed to write, where the system said so: `: no space left on device`.
  static var reason: String { [ENOSPC, EDQUOT, EFBIG, EIO].contains(errno) ? ": \(systemMessage(errno))" : "" }

  /// The most axes a dataset may have here.
  static let maxRank = 4
}

/// An object of the library, closed when it goes.
struct HDF5Handle: ~Copyable {
  let id: Int64
  private let close: (Int64) -> Int32

  /// The object `id`; nil when the library could not make it.
  init?(_ id: Int64, _ close: @escaping (Int64) -> Int32) {
    guard id >= 0 else { return nil }
    (self.id, self.close) = (id, close)
  }

  deinit { _ = close(id) }
}

extension HDF5Handle {
  static func dataset(_ id: Int64) -> HDF5Handle? { HDF5Handle(id) { H5Dclose($0) } }
  static func space(_ id: Int64) -> HDF5Handle? { HDF5Handle(id) { H5Sclose($0) } }
  static func type(_ id: Int64) -> HDF5Handle? { HDF5Handle(id) { H5Tclose($0) } }
  static func properties(_ id: Int64) -> HDF5Handle? { HDF5Handle(id) { H5Pclose($0) } }
  static func object(_ id: Int64) -> HDF5Handle? { HDF5Handle(id) { H5Oclose($0) } }
  static func attribute(_ id: Int64) -> HDF5Handle? { HDF5Handle(id) { H5Aclose($0) } }
}

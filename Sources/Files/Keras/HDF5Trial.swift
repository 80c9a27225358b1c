import CHDF5
import Glibc

/// Reading an HDF5 file in a process of its own first, so that what crashes the library there does not crash here.
///
/// Structures damaged on purpose crash versions of the library that are in use, keep it busy for ever, or have it ask for
/// more memory than there is. A child is forked, reads all there is, and ends; what ended it, and why it refused the file,
/// is told as any other damage.
public enum HDF5Trial {
  /// Seconds after which a file counts as one that cannot be read, and the addresses a child may have at least.
  private static let patience: UInt32 = 60, memory = 8 << 30
  /// Room for what a child refused.
  private static let messageSize = 4096

  /// Reads the Keras file at `path` in a child; a file of another form is left alone.
  ///
  /// A child has only the thread that forked it, so this is for programs that have not started others yet.
  ///
  /// - Throws: a ``FileError`` when the child refused the file, or was ended by a signal.
  public static func check(_ path: String) throws {
    guard Folder.exists(path), !Folder.isFolder(path) else { return }
    let file = try MappedFile(path), size = file.bytes.count
    let isHDF5 = file.withBytes { $0.starts(with: [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]) }
    guard isHDF5 else { return }
    var text = [CChar](repeating: 0, count: messageSize)
    let signal = path.withCString { path in
      graft_trial(
        { path, text in
          guard let path, let text else { return }
          do { try HDF5Trial.read(String(cString: path.assumingMemoryBound(to: CChar.self))) } catch {
            let error = error as? FileError
            let parts = [error?.place ?? "", error?.problem ?? "cannot be read", error?.remedy ?? ""]
            strncpy(text, parts.joined(separator: "\u{1}"), HDF5Trial.messageSize - 1)
          }
        }, UnsafeMutableRawPointer(mutating: path), patience, max(memory, 4 * size), &text, messageSize)
    }
    guard signal == 0 else {
      throw FileError(
        path,
        signal < 0 ? "could not be tried in a process of its own" : "cannot be read: the HDF5 library fails on it",
        remedy: "the file is damaged; fetch it again")
    }
    let told = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    guard !told.isEmpty else { return }
    let parts = told.split(separator: "\u{1}", omittingEmptySubsequences: false).map(String.init)
    let place = parts[0].isEmpty ? nil : parts[0], remedy = parts.count > 2 && !parts[2].isEmpty ? parts[2] : nil
    throw FileError(path, at: place, parts.count > 1 ? parts[1] : "cannot be read", remedy: remedy)
  }

  private static func read(_ path: String) throws {
    let file = try KerasWeights(path)
    // Arrays of other types and the like are for who reads them to refuse; here it is whether reading ends the process.
    for name in file.names { _ = try? file[name]?.floats() }
    _ = try? file.configuration()
  }
}

import CHDF5

/// Reading an HDF5 file in a process of its own first, so that what crashes the library there does not crash here.
///
/// Structures damaged on purpose crash versions of the library that are in use, or keep it busy for ever. A child is
/// forked, reads all there is, and ends; what it was ended by is told as any other damage.
public enum HDF5Trial {
  /// Seconds after which a file counts as one that cannot be read.
  private static let patience: UInt32 = 60

  /// Reads the Keras file at `path` in a child; a file of another form is left alone.
  ///
  /// A child has only the thread that forked it, so this is for programs that have not started others yet.
  ///
  /// - Throws: a ``FileError`` when the child was ended by a signal. What it read and refused is not told: reading the
  ///   file here tells it.
  public static func check(_ path: String) throws {
    guard Folder.exists(path) else { return }
    let start = try MappedFile(path).withBytes { Array($0.prefix(8)) }
    guard start == [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a] else { return }
    let signal = path.withCString { text in
      graft_trial(
        { context in
          guard let text = context?.assumingMemoryBound(to: CChar.self),
            let file = try? KerasWeights(String(cString: text))
          else { return }
          for name in file.names { _ = try? file[name]?.floats() }
          _ = try? file.configuration()
        }, UnsafeMutableRawPointer(mutating: text), patience)
    }
    guard signal != 0 else { return }
    throw FileError(
      path, signal < 0 ? "could not be tried in a process of its own" : "cannot be read: the HDF5 library fails on it",
      remedy: "the file is damaged; fetch it again")
  }
}

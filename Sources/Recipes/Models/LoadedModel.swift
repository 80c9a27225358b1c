import Adapters
import Autodiff
import Files
import Networks
import Text
import Weights

/// A model ready to run: the network, its tokenizer and its chat template, each from the same place.
public struct LoadedModel: Sendable {
  /// Where it came from.
  public let checkpoint: Checkpoint
  /// The network, its weights packed as on disk.
  public var network: any TextNetwork
  /// How text becomes ids; nil where the model's folder has none.
  public let tokenizer: Tokenizer?
  /// How conversations become text; nil where the model has none.
  public let template: ChatTemplate?

  /// Loads the model at `path`, or the one a known name stands for.
  ///
  /// - Throws: a ``FileError`` when it is not there, malformed, or its tokenizer knows more ids than its embedding.
  public init(_ path: String, chatTemplate: String? = nil) throws {
    checkpoint = try Checkpoint(try KnownModel.resolve(path))
    network = try checkpoint.model()
    tokenizer = try Self.tokenizer(of: checkpoint)
    if let tokenizer, tokenizer.vocabularySize > network.vocabularySize {
      throw FileError(
        checkpoint.path, at: "tokenizer",
        "knows \(tokenizer.vocabularySize) ids, but the embedding has \(network.vocabularySize) rows")
    }
    if let chatTemplate {
      template = try ChatTemplate(try TextFile.read(chatTemplate), path: chatTemplate)
    } else {
      let name = checkpoint.path + " (chat template)"
      template = try tokenizer?.chatTemplate.map { try ChatTemplate($0, path: name) }
    }
  }

  private static func tokenizer(of checkpoint: Checkpoint) throws -> Tokenizer? {
    switch checkpoint.form {
    case .gguf(let file): return try Tokenizer(gguf: file)
    case .folder:
      let descriptions = ["tokenizer.json", "vocab.txt"].map { checkpoint.path + "/" + $0 }
      return try descriptions.first(where: Folder.exists).map(Tokenizer.read)
    }
  }

  /// The tokenizer, where the work at hand cannot do without one.
  public func requireTokenizer() throws -> Tokenizer {
    guard let tokenizer else {
      throw FileError(
        checkpoint.path, "holds no tokenizer.json and no vocab.txt",
        remedy: "give token ids, or add the model's tokenizer.json")
    }
    return tokenizer
  }

  /// The text of a conversation as the model was trained to read it.
  public func render(_ messages: [Message]) throws -> String {
    let tokenizer = try requireTokenizer()
    guard let template else { return messages.map(\.content).joined(separator: "\n") }
    func text(_ id: Int?) -> String { id.flatMap { tokenizer.token(of: $0) } ?? "" }
    return try template.render(
      messages, addGenerationPrompt: true, bos: text(tokenizer.beginningOfSequence), eos: text(tokenizer.endOfSequence))
  }

  /// The ids at which writing stops: the end of a text, and the end of a turn where the model has one of its own.
  public var stopTokens: Set<Int32> {
    guard let tokenizer else { return [] }
    let ends = ["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>"].compactMap {
      tokenizer.id(of: $0)
    }
    return Set((ends + [tokenizer.endOfSequence].compactMap(\.self)).map(Int32.init))
  }

  /// The packings of its matrices and how many bytes each takes, largest first.
  public var packings: [(name: String, matrices: Int, bytes: Int)] { network.packings }

  /// The numbers of all weights of a model that carries no adapter.
  public var parameterCount: Int { network.weightCount() }
}

/// Whole text files of a sensible size.
enum TextFile {
  static let largest = 1 << 26

  static func read(_ path: String) throws -> String {
    let file = try MappedFile(path)
    guard file.bytes.count <= largest else {
      throw FileError(path, "has \(file.bytes.count) bytes; at most \(largest) are read")
    }
    guard let text = String(validating: file.bytes, as: UTF8.self) else { throw FileError(path, "is not UTF-8 text") }
    return text
  }
}

/// An ONNX model: its initialisers as named arrays, and its nodes, so that one can see what computes with which.
///
/// Only what lies in the file itself is read: initialisers whose data are in other files are refused. Graphs inside nodes
/// (the branches of `If`, the body of `Loop`) are passed over.
///
/// Format: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>
public struct ONNXModel: NamedArrays {
  /// The file, as the caller named it.
  public let path: String

  /// The initialisers' names, in the file's order.
  public let names: [String]

  /// The nodes, in the order in which they compute.
  public let nodes: [ONNXNode]

  /// The names of the graph's inputs and outputs.
  public let inputs: [String], outputs: [String]

  /// The version of ONNX's own operators; nil when the file does not say.
  public let operatorSet: Int?

  /// The program that wrote the file.
  public let producer: String

  private let entries: [String: ONNXTensor]

  /// The most nodes, initialisers and attributes together.
  static let mostParts = 1 << 20

  /// Opens one file.
  ///
  /// - Throws: `FileError` when it is missing, damaged or no ONNX model.
  public init(_ path: String) throws {
    let file = try MappedFile(path)
    var graph: Range<Int>?, operatorSet: Int?, producer = ""
    var message = ProtobufMessage(file, 0..<file.bytes.count)
    while let (number, value, _) = try message.next() {
      switch (number, value) {
      case (2, .bytes(let text)): producer = try Self.text(file, text, "the producer's name")
      case (7, .bytes(let range)):
        guard graph == nil else { throw FileError(path, "holds two graphs") }
        graph = range
      case (8, .bytes(let range)): operatorSet = try Self.operatorSet(file, range) ?? operatorSet
      case (2, _), (7, _), (8, _): throw FileError(path, "is no ONNX model")
      default: break
      }
    }
    guard let graph else { throw FileError(path, "holds no graph", remedy: "is it an ONNX model?") }
    let parts = try ONNXGraph(file, graph)
    (self.path, self.operatorSet, self.producer) = (path, operatorSet, producer)
    (names, entries, nodes) = (parts.names, parts.entries, parts.nodes)
    (inputs, outputs) = (parts.inputs, parts.outputs)
  }

  /// The number of nodes and the version of the operators.
  public var note: String? {
    "ONNX, \(nodes.count) nodes" + (operatorSet.map { ", operator set \($0)" } ?? "")
  }

  /// The initialiser of this name, if there is one.
  public subscript(_ name: String) -> ONNXTensor? { entries[name] }

  /// The version, where the set is ONNX's own.
  private static func operatorSet(_ file: MappedFile, _ range: Range<Int>) throws -> Int? {
    var message = ProtobufMessage(file, range), domain = "", version: Int?
    while let (number, value, _) = try message.next() {
      switch (number, value) {
      case (1, .bytes(let text)): domain = try Self.text(file, text, "a domain")
      case (2, .varint(let number)): version = Int(truncatingIfNeeded: number)
      default: break
      }
    }
    return domain.isEmpty || domain == "ai.onnx" ? version : nil
  }

  /// The text in a range, which must be UTF-8.
  static func text(_ file: MappedFile, _ range: Range<Int>, _ what: String) throws -> String {
    guard let text = String(validating: UnsafeRawBufferPointer(rebasing: file.bytes[range]), as: UTF8.self) else {
      throw FileError(file.path, at: "byte \(range.lowerBound)", "\(what) is not UTF-8")
    }
    return text
  }
}

/// The parts of a GraphProto.
struct ONNXGraph {
  private(set) var names: [String] = []
  private(set) var entries: [String: ONNXTensor] = [:]
  private(set) var nodes: [ONNXNode] = []
  private(set) var inputs: [String] = [], outputs: [String] = []

  init(_ file: MappedFile, _ range: Range<Int>) throws {
    var message = ProtobufMessage(file, range), parts = 0
    while let (number, value, _) = try message.next() {
      parts += 1
      switch (number, value) {
      case (1, .bytes(let range)): nodes.append(try ONNXNode(file, range, number: nodes.count, parts: &parts))
      case (5, .bytes(let range)): try add(ONNXTensor(file, range, place: "initialiser \(names.count)"))
      case (11, .bytes(let range)): inputs.append(try Self.name(file, range))
      case (12, .bytes(let range)): outputs.append(try Self.name(file, range))
      case (15, _): throw FileError(file.path, "has sparse initialisers, which cannot be read")
      case (1, _), (5, _), (11, _), (12, _): throw FileError(file.path, "is no ONNX model")
      default: break
      }
      guard parts <= ONNXModel.mostParts else {
        throw FileError(file.path, "has more than \(ONNXModel.mostParts) nodes, attributes and tensors")
      }
    }
  }

  private mutating func add(_ tensor: ONNXTensor) throws {
    guard !tensor.name.isEmpty else {
      throw FileError(tensor.path, at: "initialiser \(names.count)", "has no name")
    }
    guard entries.updateValue(tensor, forKey: tensor.name) == nil else {
      throw FileError(tensor.path, at: "tensor \(quoted(tensor.name))", "is there twice")
    }
    names.append(tensor.name)
  }

  /// The name in a ValueInfoProto.
  private static func name(_ file: MappedFile, _ range: Range<Int>) throws -> String {
    var message = ProtobufMessage(file, range), name = ""
    while let (number, value, _) = try message.next() {
      if number == 1, case .bytes(let text) = value { name = try ONNXModel.text(file, text, "a value's name") }
    }
    return name
  }
}

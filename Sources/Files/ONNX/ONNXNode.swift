/// A node of an ONNX graph: an operation, and the names of what goes in and comes out.
public struct ONNXNode: Sendable {
  /// The name; of a model exported from PyTorch the path of the module, as in `/encoder/layer.0/query/MatMul`.
  public let name: String

  /// The operation, such as `MatMul`.
  public let operation: String

  /// The operation's domain; empty for ONNX's own.
  public let domain: String

  /// The names of what goes in; an empty one stands for an input left out.
  public let inputs: [String]

  /// The names of what comes out.
  public let outputs: [String]

  /// The attributes, by name.
  public let attributes: [String: Attribute]

  /// The value of an attribute.
  public enum Attribute: Sendable {
    case float(Float)
    case integer(Int)
    case text(String)
    case floats([Float])
    case integers([Int])
    case tensor(ONNXTensor)
    /// A graph, a type, or a list of these, of texts or of tensors.
    case other
  }

  /// Reads a NodeProto; `parts` counts its attributes.
  init(_ file: MappedFile, _ range: Range<Int>, number: Int, parts: inout Int) throws {
    var name = "", operation = "", domain = "", inputs: [String] = [], outputs: [String] = []
    var attributes: [String: Attribute] = [:]
    var message = ProtobufMessage(file, range)
    let place = "node \(number)"
    while let (field, value, _) = try message.next() {
      switch (field, value) {
      case (1, .bytes(let text)): inputs.append(try ONNXModel.text(file, text, "an input's name"))
      case (2, .bytes(let text)): outputs.append(try ONNXModel.text(file, text, "an output's name"))
      case (3, .bytes(let text)): name = try ONNXModel.text(file, text, "a node's name")
      case (4, .bytes(let text)): operation = try ONNXModel.text(file, text, "an operation's name")
      case (7, .bytes(let text)): domain = try ONNXModel.text(file, text, "a domain")
      case (5, .bytes(let range)):
        parts += 1
        let (key, attribute) = try Attribute.read(file, range, place)
        guard attributes.updateValue(attribute, forKey: key) == nil else {
          throw FileError(file.path, at: place, "has the attribute \(quoted(key)) twice")
        }
      case (1...5, _), (7, _): throw FileError(file.path, at: place, "has field \(field) in a form ONNX does not use")
      default: break
      }
    }
    guard !operation.isEmpty else { throw FileError(file.path, at: place, "has no operation") }
    (self.name, self.operation, self.domain) = (name, operation, domain)
    (self.inputs, self.outputs, self.attributes) = (inputs, outputs, attributes)
  }
}

extension ONNXNode.Attribute {
  /// Reads an AttributeProto.
  fileprivate static func read(
    _ file: MappedFile, _ range: Range<Int>, _ place: String
  ) throws -> (name: String, value: Self) {
    var name = "", kind: UInt64 = 0, float: Float = 0, integer = 0, text = "", tensor: ONNXTensor?
    var floats: [Float] = [], integers: [Int] = []
    func number(_ place: Int) -> Float { file.bytes.loadUnaligned(fromByteOffset: place, as: Float.self) }
    var message = ProtobufMessage(file, range)
    while let (field, value, _) = try message.next() {
      switch (field, value) {
      case (1, .bytes(let range)): name = try ONNXModel.text(file, range, "an attribute's name")
      case (2, .fixed32(let range)): float = number(range.lowerBound)
      case (3, .varint(let value)): integer = Int(truncatingIfNeeded: value)
      case (4, .bytes(let range)): text = try ONNXModel.text(file, range, "the value of attribute \(quoted(name))")
      case (5, .bytes(let range)): tensor = try ONNXTensor(file, range, place: place)
      case (7, .fixed32(let range)): floats.append(number(range.lowerBound))
      case (7, .bytes(let range)):
        guard range.count.isMultiple(of: 4) else { throw FileError(file.path, at: place, "has half a number") }
        floats += stride(from: range.lowerBound, to: range.upperBound, by: 4).map(number)
      case (8, .varint(let value)): integers.append(Int(truncatingIfNeeded: value))
      case (8, .bytes(let range)):
        try ProtobufMessage.forEachVarint(file, range) { integers.append(Int(truncatingIfNeeded: $0)) }
      case (20, .varint(let value)): kind = value
      case (1...5, _), (7...8, _), (20, _):
        throw FileError(file.path, at: place, "has field \(field) of an attribute in a form ONNX does not use")
      default: break
      }
    }
    switch kind {
    case 1: return (name, .float(float))
    case 2: return (name, .integer(integer))
    case 3: return (name, .text(text))
    case 4:
      guard let tensor else { throw FileError(file.path, at: place, "has an attribute without its tensor") }
      return (name, .tensor(tensor))
    case 6: return (name, .floats(floats))
    case 7: return (name, .integers(integers))
    default: return (name, .other)
    }
  }
}

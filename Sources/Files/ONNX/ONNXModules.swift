/// The weights of an ONNX model that was exported from PyTorch, under the names they had there.
///
/// The exporter keeps the names of most parameters, but turns the matrix `[outputs, inputs]` of a linear layer into
/// `[inputs, outputs]` and names it by a number, as in `onnx::MatMul_1966`. The node that multiplies by it still knows
/// its module, as in `/encoder/layer.0/attention/query/MatMul`: so the name is `encoder.layer.0.attention.query.weight`,
/// and the matrix is turned back.
public struct ONNXModules: NamedArrays {
  /// The model's file.
  public let path: String

  /// The names, in the file's order.
  public let names: [String]

  private let entries: [String: Entry]

  /// All weights, under the names of the module that was exported.
  ///
  /// - Throws: `FileError` when two weights would have one name.
  public init(_ model: ONNXModel) throws {
    var matrices: [String: String] = [:]
    for node in model.nodes where node.operation == "MatMul" && node.inputs.count == 2 {
      let matrix = node.inputs[1]
      guard Self.isAnonymous(matrix), model[matrix]?.shape.count == 2, let module = Self.module(of: node.name) else {
        continue
      }
      // A layer used twice keeps the name of its first use.
      if matrices[matrix] == nil { matrices[matrix] = module + ".weight" }
    }
    try self.init(
      model.path,
      try model.names.map { name in
        let tensor = try model.entry(name), matrix = matrices[name]
        return Entry(name: matrix ?? name, parts: [tensor], isTurned: matrix != nil)
      })
  }

  /// A DINOv2 encoder under the names of transformers' `Dinov2Model`; what else the model holds is left out.
  ///
  /// The exporter cuts the table of positions in two, for the class token and for the patches: they are
  /// `embeddings.position_embeddings` again. `embeddings.mask_token`, which only training uses, is not in such a file.
  public static func dinov2(_ model: ONNXModel) throws -> ONNXModules {
    let modules = try ONNXModules(model)
    let (prefix, token) = try modules.prefix(endingIn: "embeddings.cls_token", "DINOv2")
    let width = token.shape.last ?? 0
    func table(_ operation: String, where isWanted: (Int) -> Bool) throws -> ONNXTensor {
      let inputs = Set(model.nodes.filter { $0.operation == operation }.flatMap(\.inputs))
      let found = model.names.filter { name in
        guard Self.isAnonymous(name), inputs.contains(name), let tensor = model[name] else { return false }
        let shape = tensor.shape
        return tensor.type == token.type && shape.count == 3 && shape[0] == 1 && isWanted(shape[1]) && shape[2] == width
      }
      guard let name = found.first, found.count == 1 else {
        throw FileError(model.path, "has \(found.count) tables of positions that go into '\(operation)'; 1 is expected")
      }
      return try model.entry(name)
    }
    let parts = [try table("Concat") { $0 == 1 }, try table("Reshape") { $0 > 1 }]
    let positions = Entry(name: "embeddings.position_embeddings", parts: parts, isTurned: false)
    return try ONNXModules(model.path, modules.under(prefix) + [positions])
  }

  /// A BERT encoder under the names of transformers' `BertModel`; what else the model holds is left out.
  public static func bert(_ model: ONNXModel) throws -> ONNXModules {
    let modules = try ONNXModules(model)
    let (prefix, _) = try modules.prefix(endingIn: "embeddings.word_embeddings.weight", "BERT")
    return try ONNXModules(model.path, modules.under(prefix))
  }

  /// The array of this name, if there is one.
  public subscript(_ name: String) -> Entry? { entries[name] }

  private init(_ path: String, _ arrays: [Entry]) throws {
    self.path = path
    names = arrays.map(\.name)
    entries = Dictionary(arrays.map { ($0.name, $0) }) { first, _ in first }
    guard entries.count < names.count else { return }
    var seen: Set<String> = []
    let twice = names.first { !seen.insert($0).inserted } ?? ""
    throw FileError(path, at: "tensor \(quoted(twice))", "is the name of two weights")
  }

  /// What stands before a name that every model of a kind has.
  private func prefix(endingIn end: String, _ kind: String) throws -> (String, Entry) {
    let found = names.filter { $0 == end || $0.hasSuffix("." + end) }
    guard let name = found.first, found.count == 1 else {
      throw FileError(path, "has \(found.count) tensors called '\(end)'; is it a \(kind) model exported from PyTorch?")
    }
    return (String(name.dropLast(end.count)), try entry(name))
  }

  private func under(_ prefix: String) -> [Entry] {
    names.compactMap { name in
      guard name.hasPrefix(prefix), let entry = entries[name], !Self.isAnonymous(name) else { return nil }
      return Entry(name: String(name.dropFirst(prefix.count)), parts: entry.parts, isTurned: entry.isTurned)
    }
  }

  private static func isAnonymous(_ name: String) -> Bool { name.hasPrefix("onnx::") }

  /// The module of a node's name: `a.b.0.c` for `/a/b/b.0/c/MatMul`, where `b` is a list of modules; nil where the node is
  /// not the only product of its module.
  static func module(of node: String) -> String? {
    var parts = node.split(separator: "/")
    guard parts.popLast() == "MatMul", !parts.isEmpty else { return nil }
    let kept = parts.indices.filter { $0 + 1 == parts.count || !parts[$0 + 1].hasPrefix(parts[$0] + ".") }
    return kept.map { String(parts[$0]) }.joined(separator: ".")
  }
}

extension ONNXModules {
  /// A weight under its name in PyTorch.
  public struct Entry: ArrayEntry {
    /// The name.
    public let name: String

    /// One array, or several that follow each other along the second axis.
    fileprivate let parts: [ONNXTensor]

    /// Whether the array is a matrix of which the transpose is meant.
    fileprivate let isTurned: Bool

    /// The type of the elements.
    public var type: ElementType { parts[0].type }

    /// Outermost dimension first.
    public var shape: [Int] {
      let shape = parts[0].shape
      guard parts.count > 1 else { return isTurned ? shape.reversed() : shape }
      return [1, parts.reduce(0) { $0 + $1.shape[1] }, shape[2]]
    }

    /// The file, for messages.
    public var path: String { parts[0].path }

    /// Gives the elements to `body`, row after row.
    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
      if isTurned {
        let shape = parts[0].shape, layout = StridedLayout(shape: [shape[1], shape[0]], strides: [1, shape[1]])
        return try parts[0].withBytes { try layout.gathered($0, size: type.size).withUnsafeBytes(body) }
      }
      guard parts.count > 1 else { return try parts[0].withBytes(body) }
      // The first axis has one element, so what follows along the second follows in memory.
      return try parts.flatMap { try $0.withBytes(Array.init) }.withUnsafeBytes(body)
    }
  }
}

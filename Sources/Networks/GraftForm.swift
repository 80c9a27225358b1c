import Files
import Weights

/// Graft's own form of a packed model in a Hugging Face folder.
///
///     "quantization_config": {
///       "quant_method": "graft", "version": 1,
///       "packings": {"model.layers.0.mlp.up_proj.weight": "int3-g64", …}
///     }
///
/// A matrix named there is one tensor of bytes, `U8 [bytes]`, laid out as ``Packing`` of that name says with its rows in
/// order; `P.weight.order`, `I32 [inputs]`, where it is present, says which input each stored column reads. Everything
/// else is stored as usual.
public struct GraftForm: PackedForm {
  /// What the configuration calls it.
  public static let method = "graft"
  private static let version = 1

  private let packings: [String: Packing]
  private let path: String

  init(_ section: JSON, path: String) throws {
    self.path = path
    let place = "key 'quantization_config"
    guard section["version"]?.int == Self.version else {
      throw FileError(path, at: place + ".version'", "is not \(Self.version): the model was packed by another version")
    }
    guard let named = section["packings"]?.object else {
      throw FileError(path, at: place + ".packings'", "is missing", remedy: "expected a packing for each matrix")
    }
    packings = try named.mapValues { value in
      guard let name = value.string else { throw FileError(path, at: place + ".packings'", "a packing is no text") }
      do { return try Packing(parsing: name) } catch { throw FileError(path, at: place + ".packings'", "\(error)") }
    }
  }

  func matrix(_ name: String, rows: Int, columns: Int, in tensors: PackedTensors) throws -> FrozenWeight? {
    guard let packing = packings[name] else { return nil }
    tensors.markUsed(name)
    tensors.markUsed(name + Self.orderSuffix)
    return try Self.matrix(name, packing, rows: rows, columns: columns, in: tensors.file)
  }

  /// The matrix called `name` in a file that holds it in this form.
  package static func matrix(
    _ name: String, _ packing: Packing, rows: Int, columns: Int, in file: Safetensors
  ) throws -> FrozenWeight {
    let entry = try file.entry(name)
    guard entry.type == .u8 else {
      throw FileError(entry.file.path, at: "tensor '\(name)'", "holds \(entry.type.rawValue); packed bytes are U8")
    }
    let order = try file[name + orderSuffix]?.integers().map { Int32(clamping: $0) }
    return try FrozenWeight(
      bytes: entry.bytes, owner: entry.file, packing: packing, rows: rows, columns: columns, columnOrder: order,
      path: entry.file.path, place: "tensor '\(name)'")
  }

  static let orderSuffix = ".order"

  /// What the configuration of a model says of its packed matrices, whose packings go by their tensors' names.
  public static func section(_ packings: [String: Packing]) -> JSON {
    .object([
      "quant_method": .string(method), "version": .integer(version),
      "packings": .object(packings.mapValues { .string($0.name) }),
    ])
  }

  /// The tensors of a packed matrix called `name`.
  public static func tensors(_ name: String, _ weight: FrozenWeight) -> [TensorToWrite] {
    var tensors = [
      TensorToWrite(name: name, type: .u8, shape: [weight.byteCount]) { try weight.writeRows(to: &$0) }
    ]
    if let order = weight.columnOrder {
      tensors.append(
        TensorToWrite(name: name + orderSuffix, type: .i32, shape: [order.count]) { writer in
          try order.withUnsafeBytes { try writer.write($0) }
        })
    }
    return tensors
  }
}

extension FrozenWeight {
  /// Writes the packed bytes with the rows in the model's order.
  fileprivate func writeRows(to writer: inout FileWriter) throws {
    guard order != .natural else { return try withBytes { try writer.write($0) } }
    try withBytes { bytes in
      let size = bytes.count / rows
      for row in 0..<rows {
        let start = order.stored(row) * size
        try writer.write(UnsafeRawBufferPointer(rebasing: bytes[start..<start + size]))
      }
    }
  }
}

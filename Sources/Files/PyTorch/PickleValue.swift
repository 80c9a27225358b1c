/// A value that a pickle builds. What contains others is kept in a list beside it, by number, so that a value may contain
/// itself without harm.
enum PickleValue {
  case bool(Bool)
  case integer(Int)
  case text(String)
  case global(TorchGlobal)
  case object(Int)
  /// None, and numbers nothing asks for.
  case other
}

/// Something that contains values, or a tensor.
struct PickleObject {
  enum Kind {
    case tuple, list, dictionary, orderedDictionary
    case storage(TorchStorage)
    case tensor(TorchTensor)
  }

  let kind: Kind
  /// The elements; of a dictionary keys and values in turn.
  var items: [PickleValue] = []

  /// Whether keys and values alternate.
  var isDictionary: Bool {
    switch kind {
    case .dictionary, .orderedDictionary: true
    default: false
    }
  }
}

/// The bytes that tensors share.
struct TorchStorage: Equatable {
  /// The name under which the file keeps it.
  let key: String
  /// The type of its elements; nil when it is mere bytes.
  let type: ElementType?
  /// How many elements, or bytes, it has.
  let count: Int

  /// The bytes it takes; nil when they cannot be addressed.
  var byteCount: Int? { (type ?? .u8).byteCount([count]) }
}

/// A tensor: elements of a storage.
struct TorchTensor {
  let storage: TorchStorage
  let type: ElementType
  /// The first element.
  let offset: Int
  let layout: StridedLayout
}

/// The only names a pickle may import, and what they stand for; nothing is ever called.
enum TorchGlobal: Equatable {
  case orderedDictionary, size, rebuildParameter
  /// The number of arguments it needs at least; the last of version 3 is the type.
  case rebuildTensor(arguments: Int)
  /// Nil for mere bytes.
  case storage(ElementType?)
  case type(ElementType)

  /// The global of that module and name; nil for any other.
  init?(module: String, name: String) {
    switch (module, name) {
    case ("collections", "OrderedDict"): self = .orderedDictionary
    case ("torch", "Size"): self = .size
    case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
    case ("torch._utils", "_rebuild_tensor"): self = .rebuildTensor(arguments: 4)
    case ("torch._utils", "_rebuild_tensor_v2"): self = .rebuildTensor(arguments: 6)
    case ("torch._utils", "_rebuild_tensor_v3"): self = .rebuildTensor(arguments: 7)
    case ("torch.storage", "UntypedStorage"): self = .storage(nil)
    case ("torch", _):
      if let type = Self.storages[name] {
        self = .storage(type)
      } else if let type = Self.types[name] {
        self = .type(type)
      } else {
        return nil
      }
    default: return nil
    }
  }

  private static let storages: [String: ElementType] = [
    "DoubleStorage": .f64, "FloatStorage": .f32, "HalfStorage": .f16, "BFloat16Storage": .bf16, "LongStorage": .i64,
    "IntStorage": .i32, "ShortStorage": .i16, "CharStorage": .i8, "ByteStorage": .u8, "BoolStorage": .bool,
  ]

  private static let types: [String: ElementType] = [
    "float64": .f64, "float32": .f32, "float16": .f16, "bfloat16": .bf16, "int64": .i64, "int32": .i32, "int16": .i16,
    "int8": .i8, "uint64": .u64, "uint32": .u32, "uint16": .u16, "uint8": .u8, "bool": .bool,
  ]
}

/// What the names in a pickle of tensors stand for, done with numbers alone.
extension PickleReader {
  /// The most axes a tensor may have.
  static let mostAxes = 16

  /// What a whitelisted global would give for these arguments.
  mutating func rebuilt(_ function: PickleValue, _ arguments: [PickleValue]) throws -> PickleValue {
    guard case .global(let global) = function else { throw error("calls something that is not a known name") }
    switch global {
    case .orderedDictionary:
      guard arguments.isEmpty else { throw error("gives arguments to 'collections.OrderedDict'") }
      return add(PickleObject(kind: .orderedDictionary))
    case .size:
      guard arguments.count == 1 else { throw error("needs one argument for 'torch.Size'") }
      return add(PickleObject(kind: .tuple, items: try numbers(arguments[0], "a size").map { .integer($0) }))
    case .rebuildParameter:
      guard arguments.count == 3, case .object(let index) = arguments[0], case .tensor = objects[index].kind else {
        throw error("makes a parameter of something other than a tensor")
      }
      return arguments[0]
    case .rebuildTensor(let count):
      guard arguments.count >= count, arguments.count <= count + 1 else {
        throw error("gives \(arguments.count) arguments where a tensor needs \(count)")
      }
      return add(PickleObject(kind: .tensor(try tensor(arguments, expected: count))))
    case .storage, .type: throw error("calls a type")
    }
  }

  private func tensor(_ arguments: [PickleValue], expected: Int) throws -> TorchTensor {
    guard case .object(let index) = arguments[0], case .storage(let storage) = objects[index].kind else {
      throw error("makes a tensor of something other than a storage")
    }
    guard case .integer(let offset) = arguments[1], offset >= 0 else {
      throw error("has a tensor that does not begin inside its storage")
    }
    let shape = try numbers(arguments[2], "a shape"), strides = try numbers(arguments[3], "strides")
    guard shape.count == strides.count, shape.count <= Self.mostAxes else {
      throw error("has a tensor of \(shape.count) sizes and \(strides.count) strides; at most \(Self.mostAxes) axes")
    }
    var type = storage.type
    if expected == 7 {
      guard case .global(.type(let named)) = arguments[6] else { throw error("has a tensor without a type") }
      guard type == nil || type == named else { throw error("has a tensor of another type than its storage") }
      type = named
    }
    guard let type else { throw error("has a tensor of bytes whose type is not said") }
    // The argument after the usual ones says that values are conjugated or negated when they are read.
    if arguments.count > expected {
      switch arguments[expected] {
      case .other: break
      case .object(let index) where objects[index].items.isEmpty: break
      default: throw error("has a tensor that is conjugated or negated when read", remedy: "save a copy of it")
      }
    }
    guard type.byteCount(shape) != nil else { throw error("has a tensor too large to address") }
    return TorchTensor(
      storage: storage, type: type, offset: offset, layout: StridedLayout(shape: shape, strides: strides))
  }

  /// The storage of a persistent identity: `('storage', type, key, device, count)`, perhaps with a view at the end.
  mutating func storage(_ identity: [PickleValue]) throws -> PickleValue {
    guard identity.count == 5 || identity.count == 6, case .text("storage") = identity[0] else {
      throw error("refers to something other than a storage", remedy: Self.remedy)
    }
    guard case .global(.storage(let type)) = identity[1], case .text(let key) = identity[2],
      case .integer(let count) = identity[4], count >= 0
    else { throw error("refers to a storage without type, key or size") }
    if identity.count == 6 {
      guard case .other = identity[5] else {
        throw error("refers to part of a storage", remedy: "save it with a newer torch")
      }
    }
    let storage = TorchStorage(key: key, type: type, count: count)
    guard storage.byteCount != nil else { throw error("refers to a storage too large to address") }
    guard storages.updateValue(storage, forKey: key) ?? storage == storage else {
      throw error("refers to storage \(quoted(key)) as two different ones")
    }
    return add(PickleObject(kind: .storage(storage)))
  }

  /// Whole numbers of at least 0 in a tuple or a list.
  private func numbers(_ value: PickleValue, _ what: String) throws -> [Int] {
    guard case .object(let index) = value else { throw error("has \(what) that is no tuple") }
    switch objects[index].kind {
    case .tuple, .list: break
    default: throw error("has \(what) that is no tuple")
    }
    return try objects[index].items.map { item in
      guard case .integer(let number) = item, number >= 0 else {
        throw error("has \(what) with something other than a whole number of at least 0")
      }
      return number
    }
  }
}

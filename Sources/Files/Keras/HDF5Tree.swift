import CHDF5

/// What lies in an HDF5 file: groups, datasets of any numbers, and texts noted at them.
extension HDF5Reader {
  /// The most members a group may have, and the most texts an attribute.
  static let mostMembers = 1 << 16
  /// The most axes of a dataset that is read with its own type.
  static let mostAxes = 8
  /// The most bytes of an attribute's texts together.
  private static let longestTexts = 1 << 26

  /// The members of a group, `""` being the file's root, each a group or not; `conv_2` comes before `conv_10`.
  ///
  /// - Throws: a ``FileError`` when the group is missing, or a member is a link, a type, or has an unusable name.
  func members(of group: String) throws -> [(name: String, isGroup: Bool)] {
    try HDF5Library.enter {
      let place = "group \(quoted(group))"
      if !group.isEmpty { try checkLinks(group) }
      let root = group.isEmpty ? "/" : group
      guard let object = HDF5Handle.object(H5Oopen(file, root, 0)), H5Iget_type(object.id) == H5I_GROUP else {
        throw FileError(path, at: place, "is no group")
      }
      var information = H5G_info_t()
      guard H5Gget_info(object.id, &information) >= 0, information.nlinks <= UInt64(Self.mostMembers) else {
        throw FileError(path, at: place, "cannot be read, or has more than \(Self.mostMembers) members")
      }
      return try (0..<information.nlinks).map { index in
        let name = try linkName(object, index, place), whole = group.isEmpty ? name : group + "/" + name
        try checkLinks(whole)
        guard let member = HDF5Handle.object(H5Oopen(file, whole, 0)),
          case let kind = H5Iget_type(member.id), kind == H5I_GROUP || kind == H5I_DATASET
        else {
          throw FileError(path, at: "member \(quoted(whole))", "is neither a group nor a dataset that can be opened")
        }
        return (name, kind == H5I_GROUP)
      }.sorted { naturallyPrecedes($0.name, $1.name) }
    }
  }

  private func linkName(_ group: borrowing HDF5Handle, _ index: UInt64, _ place: String) throws -> String {
    var name = [CChar](repeating: 0, count: 1 << 12)
    let length = H5Lget_name_by_idx(group.id, ".", H5_INDEX_NAME, H5_ITER_INC, index, &name, name.count, 0)
    guard length > 0, length < name.count,
      let text = String(validating: name[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self), !text.contains("/")
    else { throw FileError(path, at: place, "has a member without a usable name") }
    return text
  }

  /// A dataset, its type and shape checked, its numbers not read yet.
  ///
  /// - Throws: a ``FileError`` naming the dataset when it is missing, a link, of a type that cannot be read, or damaged.
  func array(_ name: String, called shown: String) throws -> HDF5Entry {
    try HDF5Library.enter {
      let place = "dataset \(quoted(name))"
      try checkLinks(name)
      guard let dataset = HDF5Handle.dataset(H5Dopen2(file, name, 0)) else {
        throw FileError(path, at: place, "is no dataset")
      }
      guard let stored = HDF5Handle.type(H5Dget_type(dataset.id)), let type = Self.elementType(stored) else {
        throw FileError(path, at: place, "holds elements of a type that cannot be read")
      }
      let shape = try shape(of: dataset, place, axes: 0...Self.mostAxes)
      _ = try checkedCount(shape, type.size, dataset, place)
      return HDF5Entry(name: shown, type: type, shape: shape, reader: self, place: name)
    }
  }

  /// The elements of a dataset, least significant byte first, which must still be of that type and shape.
  fileprivate func bytes(_ name: String, _ type: ElementType, _ wanted: [Int]) throws -> [UInt8] {
    try HDF5Library.enter {
      let place = "dataset \(quoted(name))"
      guard let dataset = HDF5Handle.dataset(H5Dopen2(file, name, 0)),
        let stored = HDF5Handle.type(H5Dget_type(dataset.id)), Self.elementType(stored) == type,
        let memory = HDF5Handle.type(H5Tcopy(stored.id))
      else { throw FileError(path, at: place, "is no dataset") }
      // What takes one byte has no order, and a truth value's is not the library's to change.
      if type.size > 1, H5Tset_order(memory.id, H5T_ORDER_LE) < 0 { throw FileError(path, at: place, "cannot be read") }
      let shape = try shape(of: dataset, place, axes: 0...Self.mostAxes)
      guard shape == wanted else { throw FileError(path, at: place, "has shape \(shape); expected \(wanted)") }
      let count = try checkedCount(shape, type.size, dataset, place)
      var bytes = [UInt8](repeating: 0, count: count * type.size)
      if count > 0, H5Dread(dataset.id, memory.id, 0, 0, 0, &bytes) < 0 {
        throw FileError(path, at: place, "cannot be read: its bytes are damaged")
      }
      return bytes
    }
  }

  /// The texts noted under a name at a group, or a dataset; nil when there is no such note.
  ///
  /// Keras cuts lists above 64 KiB into pieces of the same name with a number behind: they are one again.
  ///
  /// - Throws: a ``FileError`` when the note holds something other than text, or too much of it.
  func texts(_ name: String, at object: String) throws -> [String]? {
    try HDF5Library.enter {
      if !object.isEmpty { try checkLinks(object) }
      if let whole = try piece(name, at: object) { return whole }
      guard var all = try piece(name + "0", at: object) else { return nil }
      for number in 1..<Self.mostMembers {
        guard let next = try piece(name + String(number), at: object) else { break }
        all += next
      }
      return all
    }
  }

  private func piece(_ name: String, at object: String) throws -> [String]? {
    let root = object.isEmpty ? "/" : object
    let place = "attribute \(quoted(name))" + (object.isEmpty ? "" : " of \(quoted(object))")
    guard H5Aexists_by_name(file, root, name, 0) > 0 else { return nil }
    guard let attribute = HDF5Handle.attribute(H5Aopen_by_name(file, root, name, 0, 0)),
      let space = HDF5Handle.space(H5Aget_space(attribute.id)), let type = HDF5Handle.type(H5Aget_type(attribute.id)),
      case let count = Int(H5Sget_simple_extent_npoints(space.id)), (0...Self.mostMembers).contains(count)
    else { throw FileError(path, at: place, "cannot be read") }
    // Keras writes an empty list of texts as one of numbers.
    guard count > 0 else { return [] }
    guard H5Tget_class(type.id) == H5T_STRING, let memory = HDF5Handle.type(H5Tcopy(type.id)) else {
      throw FileError(path, at: place, "is no text")
    }
    if H5Tis_variable_str(type.id) > 0 { return try variableTexts(attribute, memory, space, count, place) }
    let size = H5Tget_size(type.id)
    guard size > 0, size <= Self.longestTexts / count else {
      throw FileError(path, at: place, "has more than \(Self.longestTexts) bytes of text")
    }
    var bytes = [UInt8](repeating: 0, count: size * count)
    guard H5Aread(attribute.id, memory.id, &bytes) >= 0 else { throw FileError(path, at: place, "cannot be read") }
    let isPadded = H5Tget_strpad(type.id) == H5T_STR_SPACEPAD
    return try (0..<count).map { index in
      var text = bytes[index * size..<(index + 1) * size].prefix { $0 != 0 }
      while isPadded, text.last == UInt8(ascii: " ") { text.removeLast() }
      guard let text = String(validating: text, as: UTF8.self) else { throw FileError(path, at: place, "is not UTF-8") }
      return text
    }
  }

  /// Texts of any length, which the library allocates.
  private func variableTexts(
    _ attribute: borrowing HDF5Handle, _ memory: borrowing HDF5Handle, _ space: borrowing HDF5Handle, _ count: Int,
    _ place: String
  ) throws -> [String] {
    var pointers = [UnsafeMutablePointer<CChar>?](repeating: nil, count: count)
    defer { H5Dvlen_reclaim(memory.id, space.id, 0, &pointers) }
    guard H5Aread(attribute.id, memory.id, &pointers) >= 0 else { throw FileError(path, at: place, "cannot be read") }
    var length = 0
    return try pointers.map { pointer in
      guard let pointer else { return "" }
      guard let text = String(validatingCString: pointer) else { throw FileError(path, at: place, "is not UTF-8") }
      length += text.utf8.count
      guard length <= Self.longestTexts else {
        throw FileError(path, at: place, "has more than \(Self.longestTexts) bytes of text")
      }
      return text
    }
  }

  /// The type of a dataset's elements, where it is one that Graft knows bit for bit, in either byte order.
  private static func elementType(_ type: borrowing HDF5Handle) -> ElementType? {
    let size = H5Tget_size(type.id), order = H5Tget_order(type.id)
    guard order == H5T_ORDER_LE || order == H5T_ORDER_BE, H5Tget_precision(type.id) == size * 8 else { return nil }
    switch H5Tget_class(type.id) {
    case H5T_INTEGER:
      let isSigned = H5Tget_sign(type.id) == H5T_SGN_2
      switch size {
      case 1: return isSigned ? .i8 : .u8
      case 2: return isSigned ? .i16 : .u16
      case 4: return isSigned ? .i32 : .u32
      case 8: return isSigned ? .i64 : .u64
      default: return nil
      }
    case H5T_ENUM: return size == 1 && H5Tget_nmembers(type.id) == 2 ? .bool : nil
    case H5T_FLOAT:
      var sign = 0, exponent = 0, exponentBits = 0, fraction = 0, fractionBits = 0
      guard H5Tget_fields(type.id, &sign, &exponent, &exponentBits, &fraction, &fractionBits) >= 0 else { return nil }
      let bias = Int(clamping: H5Tget_ebias(type.id))
      let layout = [sign, exponent, exponentBits, fraction, fractionBits, bias]
      return H5Tget_norm(type.id) == H5T_NORM_IMPLIED ? floats.first { $0.layout == layout }?.type : nil
    default: return nil
    }
  }

  /// Sign, exponent and its bits, fraction and its bits, bias.
  private static let floats: [(type: ElementType, layout: [Int])] = [
    (.f64, [63, 52, 11, 0, 52, 1023]), (.f32, [31, 23, 8, 0, 23, 127]), (.f16, [15, 10, 5, 0, 10, 15]),
    (.bf16, [15, 7, 8, 0, 7, 127]),
  ]
}

/// An array in an HDF5 file.
public struct HDF5Entry: ArrayEntry {
  /// The name under which it was asked for.
  public let name: String

  /// The type of the elements.
  public let type: ElementType

  /// Outermost dimension first; empty for a scalar.
  public let shape: [Int]

  fileprivate let reader: HDF5Reader
  fileprivate let place: String

  fileprivate init(name: String, type: ElementType, shape: [Int], reader: HDF5Reader, place: String) {
    (self.name, self.type, self.shape, self.reader, self.place) = (name, type, shape, reader, place)
  }

  /// The file, for messages.
  public var path: String { reader.path }

  /// Reads the elements and gives them to `body`.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
    try reader.bytes(place, type, shape).withUnsafeBytes(body)
  }
}

/// Whether one name comes before another when the numbers in them count as numbers: `conv_2` before `conv_10`.
func naturallyPrecedes(_ a: String, _ b: String) -> Bool {
  func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
  var left = Array(a.utf8)[...], right = Array(b.utf8)[...]
  while let first = left.first, let second = right.first {
    if isDigit(first), isDigit(second) {
      let x = left.prefix(while: isDigit).drop { $0 == UInt8(ascii: "0") }
      let y = right.prefix(while: isDigit).drop { $0 == UInt8(ascii: "0") }
      if x.count != y.count { return x.count < y.count }
      if !x.elementsEqual(y) { return x.lexicographicallyPrecedes(y) }
      left = left.drop(while: isDigit)
      right = right.drop(while: isDigit)
    } else if first != second {
      return first < second
    } else {
      left.removeFirst()
      right.removeFirst()
    }
  }
  // Equal as far as both go: the shorter first, and of two that differ in leading zeros any, but always the same.
  return left.isEmpty != right.isEmpty ? left.isEmpty : a < b
}

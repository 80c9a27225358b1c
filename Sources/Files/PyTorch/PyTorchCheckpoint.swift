/// The tensors of a file that `torch.save` wrote (`.pth`, `.pt`, `.bin`), read without running anything of it.
///
/// The file may hold a state dictionary, or dictionaries and lists around one. A tensor's name is the keys that lead to
/// it, with points between; where the outermost dictionary has the key `state_dict`, only what lies under it is read.
/// What is no tensor is passed over. A tensor that is a view, such as a transposed one, is read as the view.
///
/// The two forms are the zip archive of torch 1.6 and later, and the stream of pickles before it. Files of models rather
/// than of their state name classes, and are refused.
public struct PyTorchCheckpoint: NamedArrays {
  /// The forms a file can have.
  public enum Form: String, Sendable {
    case zip = "zip archive"
    case stream = "stream of pickles"
  }

  /// The file, as the caller named it.
  public let path: String

  /// How the file is laid out.
  public let form: Form

  /// The tensors' names, in the order in which they were saved.
  public let names: [String]

  private let entries: [String: StridedEntry]

  /// Opens one file.
  ///
  /// - Throws: `FileError` when the file is missing or damaged, names anything that tensors do not need, or holds none.
  public init(_ path: String) throws {
    self.path = path
    let file = try MappedFile(path)
    let isArchive = file.bytes.starts(with: [0x50, 0x4b, 0x03, 0x04])
    form = isArchive ? .zip : .stream
    let content = try isArchive ? TorchContent(archive: file) : TorchContent(stream: file)
    var collection = TorchCollection(content)
    try collection.collect()
    guard !collection.names.isEmpty else { throw FileError(path, "holds no tensors") }
    (names, entries) = (collection.names, collection.entries)
  }

  /// The form.
  public var note: String? { "PyTorch, \(form.rawValue)" }

  /// The tensor of this name, if there is one.
  public subscript(_ name: String) -> StridedEntry? { entries[name] }
}

/// What a file holds: the values its pickle built, and where the storages' bytes are.
struct TorchContent {
  let file: MappedFile
  let root: PickleValue
  let objects: [PickleObject]
  let storages: [String: Range<Int>]

  init(archive file: MappedFile) throws {
    self.file = file
    let path = file.path
    // Checksums are not compared: PyTorch may be told not to compute them (`set_crc32_options`), and reads such files.
    let members = try ZipArchive(file).members.map { name, member in
      guard member.isStored else {
        throw FileError(path, at: "member \(quoted(name))", "is compressed; PyTorch stores members as they are")
      }
      return (name, member.bytes)
    }.reduce(into: [String: Range<Int>]()) { $0[$1.0] = $1.1 }
    let pickles = members.keys.filter { $0.hasSuffix("/data.pkl") && $0.utf8.count(where: { $0 == 0x2f }) == 1 }
    guard let name = pickles.first, pickles.count == 1, let range = members[name] else {
      throw FileError(path, "is a zip archive without one 'data.pkl'", remedy: "is it a file that torch.save wrote?")
    }
    let folder = name.dropLast("data.pkl".count)
    if let order = members[folder + "byteorder"], !file.bytes[order].elementsEqual("little".utf8) {
      throw FileError(path, "is not little-endian, which cannot be read")
    }
    var pickle = PickleReader(file.bytes, range, path: path)
    root = try pickle.next()
    objects = pickle.objects
    storages = try pickle.storages.mapValues { storage in
      func error(_ problem: String) -> FileError { FileError(path, at: "storage \(quoted(storage.key))", problem) }
      guard let range = members["\(folder)data/\(storage.key)"] else { throw error("is missing") }
      guard range.count == storage.byteCount else {
        throw error("has \(range.count) bytes where \(storage.byteCount ?? 0) are expected")
      }
      return range
    }
  }

  /// Three pickles that say what file it is, one of the object, one of the storages' keys; then the storages.
  init(stream file: MappedFile) throws {
    self.file = file
    let path = file.path, end = file.bytes.count
    // The number 0x1950a86a20f9469cfc6c as a pickle; what follows the protocol's number.
    let magic: [UInt8] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]
    guard end >= 15, file.bytes[0] == 0x80, file.bytes[2..<15].elementsEqual(magic) else {
      throw FileError(path, "is no file that torch.save wrote")
    }
    var pickle = PickleReader(file.bytes, 15..<end, path: path)
    guard case .integer(1001) = try pickle.next() else {
      throw FileError(path, "is of an unknown protocol; 1001 can be read")
    }
    guard case .object(let system) = try pickle.next(), pickle.objects[system].isDictionary else {
      throw FileError(path, "does not say which machine wrote it")
    }
    let facts = pickle.objects[system].items
    for (key, value) in zip(facts, facts.dropFirst()) {
      if case .text("little_endian") = key, case .bool(false) = value {
        throw FileError(path, "is not little-endian, which cannot be read")
      }
    }
    root = try pickle.next()
    guard case .object(let list) = try pickle.next(), case .list = pickle.objects[list].kind else {
      throw FileError(path, "has no list of storages")
    }
    objects = pickle.objects
    var position = pickle.position
    var storages: [String: Range<Int>] = [:]
    for item in objects[list].items {
      guard case .text(let key) = item, let storage = pickle.storages[key], let count = storage.byteCount else {
        throw FileError(path, "lists a storage that no tensor uses")
      }
      func error(_ problem: String) -> FileError {
        FileError(
          path, at: "storage \(quoted(key))", problem, remedy: "the file may be truncated; fetch it again")
      }
      guard end - position >= 8, count <= end - position - 8 else { throw error("ends beyond the file") }
      let claimed = UInt64(littleEndian: file.bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
      guard claimed == UInt64(storage.count) else {
        throw error("says it has \(claimed) elements where \(storage.count) are expected")
      }
      guard storages.updateValue(position + 8..<position + 8 + count, forKey: key) == nil else {
        throw error("is listed twice")
      }
      position += 8 + count
    }
    guard position == end else { throw FileError(path, "has \(end - position) bytes after its last storage") }
    guard let missing = pickle.storages.keys.sorted().first(where: { storages[$0] == nil }) else {
      self.storages = storages
      return
    }
    throw FileError(path, at: "storage \(quoted(missing))", "is missing")
  }
}

/// Finds the tensors among the values and gives each its name.
struct TorchCollection {
  private(set) var names: [String] = []
  private(set) var entries: [String: StridedEntry] = [:]
  private let content: TorchContent
  private var visits = 0, bytes = 0

  /// How deep values may lie in one another: a file whose values contain themselves has no end.
  private static let depth = 32
  private static let longestName = 4096

  init(_ content: TorchContent) { self.content = content }

  mutating func collect() throws {
    var root = content.root
    if case .object(let index) = root, content.objects[index].isDictionary {
      let items = content.objects[index].items
      for place in stride(from: 0, to: items.count, by: 2) {
        if case .text("state_dict") = items[place], case .object(let inner) = items[place + 1],
          content.objects[inner].isDictionary
        {
          root = items[place + 1]
        }
      }
    }
    try visit(root, "", 0)
  }

  private mutating func visit(_ value: PickleValue, _ name: String, _ depth: Int) throws {
    let path = content.file.path
    visits += 1
    guard depth <= Self.depth, visits <= 4 * PickleReader.mostValues else {
      throw FileError(path, "holds values nested deeper than \(Self.depth), or repeated without end")
    }
    guard name.utf8.count <= Self.longestName else {
      throw FileError(path, at: "tensor \(quoted(name))", "has a name of more than \(Self.longestName) bytes")
    }
    guard case .object(let index) = value else { return }
    let object = content.objects[index]
    switch object.kind {
    case .storage: return
    case .tensor(let tensor): try add(tensor, name.isEmpty ? "tensor" : name)
    case .tuple, .list:
      for (place, item) in object.items.enumerated() { try visit(item, Self.join(name, String(place)), depth + 1) }
    case .dictionary, .orderedDictionary:
      for place in stride(from: 0, to: object.items.count, by: 2) {
        let key: String
        switch object.items[place] {
        case .text(let text): key = text
        case .integer(let number): key = String(number)
        default: continue
        }
        try visit(object.items[place + 1], Self.join(name, key), depth + 1)
      }
    }
  }

  private static func join(_ name: String, _ key: String) -> String { name.isEmpty ? key : name + "." + key }

  private mutating func add(_ tensor: TorchTensor, _ name: String) throws {
    let file = content.file
    func error(_ problem: String) -> FileError { FileError(file.path, at: "tensor \(quoted(name))", problem) }
    guard let storage = content.storages[tensor.storage.key] else { throw error("has no storage") }
    let size = tensor.type.size, layout = tensor.layout
    let available = storage.count / size
    guard let span = layout.span, tensor.offset <= available,
      layout.count == 0 || span < available - tensor.offset
    else { throw error("lies beyond its storage of \(available) elements") }
    // Views may share elements, and expanded ones repeat them; a small file must not stand for a huge one.
    let (sum, overflow) = bytes.addingReportingOverflow(layout.count * size)
    guard !overflow, sum <= 8 * file.bytes.count + 1 << 20 else {
      throw error("and those before it repeat their elements to more than eight times the file's size")
    }
    bytes = sum
    let start = storage.lowerBound + tensor.offset * size
    let end = layout.count == 0 ? start : start + (span + 1) * size
    let entry = StridedEntry(name: name, type: tensor.type, layout: layout, file: file, range: start..<end)
    guard entries.updateValue(entry, forKey: name) == nil else { throw error("is there twice") }
    names.append(name)
  }
}

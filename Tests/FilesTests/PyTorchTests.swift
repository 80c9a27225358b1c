import Testing

@testable import Files

/// A pickle of these instructions, as the stream form holds one.
private func pickle(_ body: [UInt8]) -> [UInt8] { [0x80, 2] + body + [UInt8(ascii: ".")] }

/// A text instruction.
private func text(_ text: String) -> [UInt8] { [0x8c, UInt8(text.utf8.count)] + Array(text.utf8) }

private func global(_ module: String, _ name: String) -> [UInt8] { Array("c\(module)\n\(name)\n".utf8) }

private func number(_ value: Int32) -> [UInt8] { [UInt8(ascii: "J")] + littleEndian(value) }

private func tuple(_ items: [UInt8]...) -> [UInt8] {
  [UInt8(ascii: "(")] + items.flatMap { $0 } + [UInt8(ascii: "t")]
}

/// The instructions for a tensor of single precision in storage `s`.
private func tensor(
  offset: Int32 = 0, shape: [Int32], strides: [Int32], key: String = "s", count: Int32 = 4,
  storage: String = "FloatStorage", more: [UInt8] = []
) -> [UInt8] {
  func sizes(_ values: [Int32]) -> [UInt8] {
    [UInt8(ascii: "(")] + values.flatMap(number) + [UInt8(ascii: "t")]
  }
  let identity = tuple(text("storage"), global("torch", storage), text(key), text("cpu"), number(count))
  let arguments =
    [UInt8(ascii: "(")] + identity + [UInt8(ascii: "Q")] + number(offset) + sizes(shape) + sizes(strides) + [0x89]
    + global("collections", "OrderedDict") + Array(")R".utf8) + more + [UInt8(ascii: "t")]
  return global("torch._utils", "_rebuild_tensor_v2") + arguments + [UInt8(ascii: "R")]
}

/// A dictionary of these keys and values.
private func dictionary(_ items: [(String, [UInt8])]) -> [UInt8] {
  Array("}(".utf8) + items.flatMap { text($0.0) + $0.1 } + [UInt8(ascii: "u")]
}

/// A file of the stream form: its object, and the storages' keys with their counts and bytes.
private func stream(
  _ object: [UInt8], storages: [(String, UInt64, [UInt8])] = [("s", 4, [UInt8](repeating: 0, count: 16))],
  littleEndian isLittle: Bool = true, protocolNumber: Int32 = 1001
) -> [UInt8] {
  let magic: [UInt8] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]
  let keys = Array("](".utf8) + storages.flatMap { text($0.0) } + [UInt8(ascii: "e")]
  return pickle(magic) + pickle(number(protocolNumber))
    + pickle(dictionary([("little_endian", [isLittle ? 0x88 : 0x89])])) + pickle(object) + pickle(keys)
    + storages.flatMap { littleEndian($0.1) + $0.2 }
}

struct PyTorchTests {
  let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func refusal(_ bytes: [UInt8]) throws -> String {
    let path = try scratch.file("a.pth", bytes)
    return String(message { _ = try PyTorchCheckpoint(path) }.dropFirst("a.pth: ".count))
  }

  @Test(arguments: ["torch.pth", "torch-stream.pth"])
  func `Every type and every view is read as torch reads it`(_ name: String) throws {
    let file = try PyTorchCheckpoint(fixturePath(name)), expected = try Safetensors(fixturePath("torch.safetensors"))
    #expect(file.form == (name == "torch.pth" ? .zip : .stream))
    #expect(file.names.sorted() == expected.names.sorted())
    #expect(file.names.prefix(4) == ["f64", "f32", "f16", "bf16"])
    for name in expected.names {
      let entry = try file.entry(name), wanted = try expected.entry(name)
      #expect(entry.type == wanted.type && entry.shape == wanted.shape, "\(name)")
      #expect(try entry.withBytes(Array.init) == wanted.withBytes(Array.init), "\(name)")
      #expect(try entry.floats() == wanted.floats(), "\(name)")
    }
  }

  @Test(arguments: ["torch-nested.pth", "torch-nested-stream.pth"])
  func `A name is the keys that lead to a tensor`(_ name: String) throws {
    let file = try PyTorchCheckpoint(fixturePath(name))
    #expect(file.names == ["model.w", "list.0", "list.1.0", "5"])
    #expect(try file.floats("list.0", shape: [2]) == [1, 2])
    #expect(try file.floats("list.1.0", shape: []) == [3])
    #expect(
      message { _ = try file.floats("model.w", shape: [4, 3]) }
        == "\(name): tensor 'model.w': has shape [3, 4]; expected [4, 3]")
    #expect(
      message { _ = try file.entry("model.v") }
        == "\(name): tensor 'model.v': is not in the file; did you mean 'model.w'?")
  }

  @Test func `Newer types and protocols are read`() throws {
    let unsigned = try PyTorchCheckpoint(fixturePath("torch-unsigned.pth"))
    #expect(try unsigned.entry("u16").integers() == [1, 65535])
    #expect(try unsigned.entry("u32").integers() == [4_000_000_000])
    let framed = try PyTorchCheckpoint(fixturePath("torch-protocol4.pth"))
    #expect(try framed.entry("w").floats() == (0..<24).map { Float($0) / 8 - 1 })
  }

  @Test func `Views of a file made by hand hold what their strides say`() throws {
    let values: [Float] = [1, 2, 3, 4], bytes = values.withUnsafeBytes(Array.init)
    let object = dictionary([
      ("plain", tensor(shape: [2, 2], strides: [2, 1])), ("turned", tensor(shape: [2, 2], strides: [1, 2])),
      ("last", tensor(offset: 3, shape: [], strides: [])), ("repeated", tensor(shape: [2, 2], strides: [0, 3])),
      ("none", tensor(offset: 4, shape: [0, 7], strides: [7, 1])),
    ])
    let path = try scratch.file("a.pth", stream(object, storages: [("s", 4, bytes)]))
    let file = try PyTorchCheckpoint(path)
    #expect(try file.entry("plain").floats() == [1, 2, 3, 4])
    #expect(try file.entry("turned").floats() == [1, 3, 2, 4])
    #expect(try file.entry("last").floats() == [4])
    #expect(try file.entry("repeated").floats() == [1, 4, 1, 4])
    #expect(try file.entry("none").floats() == [])
  }

  @Test func `What a pickle may not do is refused by name and place`() throws {
    let remedy = "; nothing of the file was run; save the model's state_dict alone, or as safetensors"
    // The object's pickle begins behind three others of 15, 8 and 22 bytes and its own first two.
    let system = global("os", "system") + text("id") + [0x85, UInt8(ascii: "R")]
    #expect(
      try refusal(stream(system)) == "pickle at byte 47: names 'os.system', which is no part of a tensor" + remedy)
    let stacked = text("builtins") + text("eval") + [0x93]
    #expect(try refusal(stream(stacked)).contains("names 'builtins.eval', which is no part of a tensor"))
    for (name, code) in [("INST 0x69", 0x69), ("OBJ 0x6f", 0x6f), ("NEWOBJ 0x81", 0x81), ("EXT1 0x82", 0x82)] {
      #expect(
        try refusal(stream([UInt8(code)]))
          == "pickle at byte 47: has the instruction \(name), which no tensor needs\(remedy)")
    }
    #expect(try refusal(stream([0xff])).contains("has the instruction 0xff"))
    let module = tuple(text("module"), text("a"), text("b"), text("c"), number(1)) + [UInt8(ascii: "Q")]
    #expect(try refusal(stream(module)).contains("refers to something other than a storage"))
    #expect(try refusal(stream(Array("}}b".utf8))).contains("sets the state of something other than a dictionary"))
    #expect(try refusal(stream(global("torch", "FloatStorage") + Array(")R".utf8))).contains("calls a type"))
    #expect(
      try refusal(stream(Array("]".utf8) + Array(")R".utf8))).contains("calls something that is not a known name"))
  }

  @Test func `A pickle that is no sense is refused`() throws {
    for (body, problem) in [
      ("t", "has no mark to go back to"), ("h\u{7}", "remembers value 7, which was never kept"),
      ("R", "takes more values than there are"), ("(R", "takes more values than there are"),
      (")(q\u{1}", "takes more values than there are"), ("N)a", "adds to something that holds nothing"),
      ("))a", "adds values to something other than a list"), ("](NNu", "adds keys and values to something other"),
      ("}(NNNu", "adds keys and values to something other"), ("NQ", "gives a persistent identity that are no tuple"),
      ("c" + String(repeating: "x", count: 300), "imports a name that has no end"),
    ] {
      #expect(try refusal(stream(Array(body.utf8))).contains(problem), "\(body)")
    }
    #expect(try refusal(stream([0x8c, 1, 0xff])).contains("has a text that is not UTF-8"))
    #expect(try refusal(stream([UInt8(ascii: "X"), 0xff, 0xff, 0xff, 0xff])).contains("ends inside an instruction"))
    #expect(try refusal(stream([0x8d] + littleEndian(UInt64.max))).contains("claims a length of"))
    #expect(try refusal(stream([UInt8(ascii: "N")], storages: [])).contains("holds no tensors"))
  }

  @Test func `A tensor stays inside its storage`() throws {
    func tensorRefusal(_ tensor: [UInt8]) throws -> String { try refusal(stream(dictionary([("w", tensor)]))) }
    let beyond = "tensor 'w': lies beyond its storage of 4 elements"
    #expect(try tensorRefusal(tensor(shape: [5], strides: [1])) == beyond)
    #expect(try tensorRefusal(tensor(offset: 1, shape: [4], strides: [1])) == beyond)
    #expect(try tensorRefusal(tensor(offset: 4, shape: [], strides: [])) == beyond)
    #expect(try tensorRefusal(tensor(offset: 5, shape: [0], strides: [1])) == beyond)
    #expect(try tensorRefusal(tensor(shape: [2, 2], strides: [3, 1])) == beyond)
    #expect(try tensorRefusal(tensor(shape: [2, 2], strides: [.max, .max])) == beyond)
    #expect(try tensorRefusal(tensor(shape: [-1], strides: [1])).contains("other than a whole number of at least 0"))
    #expect(try tensorRefusal(tensor(shape: [2], strides: [-1])).contains("other than a whole number of at least 0"))
    #expect(try tensorRefusal(tensor(offset: -1, shape: [1], strides: [1])).contains("does not begin inside"))
    #expect(try tensorRefusal(tensor(shape: [1], strides: [])).contains("1 sizes and 0 strides"))
    let axes = [Int32](repeating: 1, count: 17)
    #expect(try tensorRefusal(tensor(shape: axes, strides: axes)).contains("17 sizes"))
    let huge = [Int32](repeating: .max, count: 3)
    #expect(try tensorRefusal(tensor(shape: huge, strides: [0, 0, 0])).contains("too large to address"))
    #expect(try tensorRefusal(tensor(shape: [1 << 30], strides: [0])).contains("more than eight times the file's size"))
    let negated = dictionary([("neg", [0x88])])
    #expect(try tensorRefusal(tensor(shape: [1], strides: [1], more: negated)).contains("conjugated or negated"))
    let other = tensor(shape: [1], strides: [1]) + text("v") + tensor(shape: [1], strides: [1], count: 5)
    #expect(try tensorRefusal(other).contains("refers to storage 's' as two different ones"))
    #expect(try tensorRefusal(tensor(shape: [1], strides: [1], key: "r")) == "lists a storage that no tensor uses")
  }

  @Test func `A stream's storages are all there and of the size they should be`() throws {
    let object = dictionary([("w", tensor(shape: [4], strides: [1]))]), bytes = [UInt8](repeating: 0, count: 16)
    #expect(try refusal(stream(object)) == "no error".dropFirst("a.pth: ".count))
    let ending = "; the file may be truncated; fetch it again"
    #expect(
      try refusal(stream(object, storages: [("s", 4, Array(bytes.dropLast()))])) == "storage 's': ends beyond the file"
        + ending)
    #expect(
      try refusal(stream(object, storages: [("s", 3, bytes)])).contains("says it has 3 elements where 4 are expected"))
    #expect(try refusal(stream(object, storages: [("s", .max, bytes)])).contains("where 4 are expected"))
    #expect(try refusal(stream(object) + [0]) == "has 1 bytes after its last storage")
    #expect(try refusal(stream(object, storages: [])) == "storage 's': is missing")
    #expect(try refusal(stream(object, storages: [("s", 4, bytes), ("s", 4, bytes)])).contains("is listed twice"))
    #expect(try refusal(stream(object, littleEndian: false)) == "is not little-endian, which cannot be read")
    #expect(try refusal(stream(object, protocolNumber: 1000)) == "is of an unknown protocol; 1001 can be read")
    #expect(try refusal([0x80, 2]) == "is no file that torch.save wrote")
    let twice = dictionary([("w", tensor(shape: [1], strides: [1])), ("w", tensor(shape: [1], strides: [1]))])
    #expect(try refusal(stream(twice)) == "tensor 'w': is there twice")
  }

  @Test func `Values that contain themselves or each other without end are refused`() throws {
    // A dictionary that is its own value, a list that is its own element, and thirty dictionaries each twice in the next.
    let own = Array("}q\u{0}".utf8) + text("a") + Array("h\u{0}s".utf8)
    #expect(try refusal(stream(own, storages: [])).contains("nested deeper than 32"))
    #expect(try refusal(stream(Array("]q\u{0}h\u{0}a".utf8), storages: [])).contains("nested deeper than 32"))
    var bomb = Array("}q\u{0}".utf8)
    for level in 0..<30 {
      let inner: [UInt8] = [UInt8(ascii: "h"), UInt8(level)]
      bomb += dictionary([("a", inner), ("b", inner)]) + [UInt8(ascii: "q"), UInt8(level + 1)]
    }
    #expect(try refusal(stream(bomb, storages: [])).contains("repeated without end"))
    // Two million lists, each in the next: nothing here may recurse as deep.
    let deep = [UInt8](repeating: UInt8(ascii: "]"), count: 2_000_000)
    #expect(try refusal(stream(deep)).contains("builds more than 1048576 values"))
    let nested = [UInt8(ascii: ")")] + [UInt8](repeating: 0x85, count: 1_000_000)
    #expect(try refusal(stream(nested, storages: [])).contains("nested deeper than 32"))
    #expect(try refusal(stream([UInt8](repeating: UInt8(ascii: "("), count: 2_000_000))).contains("builds more than"))
  }
}

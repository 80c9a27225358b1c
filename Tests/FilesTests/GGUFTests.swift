import Files
import Testing

struct GGUFTests {
  @Test func `The reference writer's file is read as it was meant`() throws {
    let file = try GGUF(fixturePath("every.gguf"))
    #expect(file.keys.first == "general.architecture" && file.keys.count == 17 && file.metadata.count == 17)
    let integers = [
      "u8": 200, "i8": -100, "u16": 60_000, "i16": -30_000, "u32": 4_000_000_000, "i32": -2_000_000_000,
      "i64": -(1 << 62),
    ]
    for (name, value) in integers {
      #expect(file.metadata["k." + name]?.int == value)
      #expect(file.metadata["k." + name]?.double == Double(value))
    }
    #expect(file.metadata["k.u64"]?.int == nil && file.metadata["k.u64"]?.double == 0x1p63)
    #expect(file.metadata["k.f32"]?.double == 0.25 && file.metadata["k.f64"]?.double == 0.1)
    #expect(file.metadata["k.bool"]?.bool == true && file.metadata["k.bool"]?.int == nil)
    #expect(file.metadata["k.string"]?.string == "grüße" && file.metadata["k.string"]?.array == nil)
    #expect(try file.metadata["k.strings"]?.array?.strings() == ["a", "", "Ġb", "日本"])
    #expect(try file.metadata["k.ints"]?.array?.ints() == [1, -2, 3])
    #expect(try file.metadata["k.ints"]?.array?.floats() == [1, -2, 3])
    #expect(try file.metadata["k.floats"]?.array?.floats() == [0.5, -0.5])
    #expect(try file.metadata["k.bools"]?.array?.ints() == [1, 0])
    #expect(file.names == ["plain", "half", "q8_0", "q4_1"])
    // Places, types and first bytes as the gguf package itself reads them back: -1.25 in front, then packed blocks.
    let expected: [(String, GGUFType, Range<Int>, [UInt8])] = [
      ("plain", .f32, 704..<960, [0x00, 0x00, 0xa0, 0xbf]), ("half", .f16, 960..<1088, [0x00, 0xbd]),
      ("q8_0", .q8_0, 1088..<1156, [0x0a, 0x21, 0x81, 0x87]), ("q4_1", .q4_1, 1184..<1224, [0x22, 0x30, 0x00, 0xbd]),
    ]
    for (name, type, range, start) in expected {
      let tensor = try file.tensor(name)
      #expect(tensor.type == type && tensor.shape == [2, 32] && tensor.range == range)
      #expect(tensor.withBytes { $0.starts(with: start) })
    }
  }

  @Test func `A file made by hand is read`() throws {
    let scratch = try Scratch()
    for version in [2, 3] as [UInt32] {
      let file = try GGUF(scratch.file("a", GGUFBytes(version: version).bytes))
      #expect(file.keys == ["k"] && file.metadata["k"]?.int == 7)
      #expect(file["t"]?.shape == [3, 2])
      #expect(try file.tensor("t").withBytes(Array.init) == Array(0..<24))
    }
  }

  @Test func `A written file has the bytes the format asks for`() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/a"
    let tensor = GGUFTensorToWrite(name: "t", type: .f32, shape: [3, 2]) { writer in
      for byte in 0..<24 { try writer.write(UInt8(byte)) }
    }
    try GGUF.write(metadata: [("k", .uint32(7))], tensors: [tensor], to: path)
    // The last tensor is padded to the alignment as well.
    #expect(try contents(path) == GGUFBytes().bytes + [UInt8](repeating: 0, count: 8))
  }

  @Test func `Copying a file through reader and writer changes no byte`() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/a"
    let file = try GGUF(fixturePath("every.gguf"))
    let tensors = file.names.compactMap { file[$0] }.map { tensor in
      GGUFTensorToWrite(name: tensor.name, type: tensor.type, shape: tensor.shape) { writer in
        try tensor.withBytes { try writer.write($0) }
      }
    }
    let metadata = file.keys.compactMap { key in file.metadata[key].map { (key, $0) } }
    try GGUF.write(metadata: metadata, tensors: tensors, to: path)
    #expect(try contents(path) == (try fixture("every.gguf")))
  }

  @Test func `Arrays made in memory survive the file`() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/a"
    let strings = ["", "a", "日本\0\n"]
    let metadata: [(String, GGUFValue)] = [
      ("s", .array(GGUFArray(strings))), ("i", .array(GGUFArray([Int32.min, 0, .max]))),
      ("f", .array(GGUFArray([Float(0.1), -.infinity]))), ("e", .array(GGUFArray([String]()))),
      ("general.alignment", .uint32(64)),
    ]
    let tensor = GGUFTensorToWrite(name: "t", type: .i8, shape: [1]) { try $0.write(Int8(-1)) }
    try GGUF.write(
      metadata: metadata,
      tensors: [tensor, GGUFTensorToWrite(name: "u", type: .i8, shape: [1]) { try $0.write(Int8(2)) }], to: path)
    let file = try GGUF(path)
    #expect(try file.metadata["s"]?.array?.strings() == strings)
    #expect(try GGUFArray(strings).strings() == strings)
    #expect(try file.metadata["i"]?.array?.ints() == [Int(Int32.min), 0, Int(Int32.max)])
    #expect(try file.metadata["f"]?.array?.floats() == [0.1, -.infinity])
    #expect(try file.metadata["e"]?.array?.strings() == [] && file.metadata["e"]?.array?.elementType == 8)
    #expect(try file.tensor("u").range.lowerBound == file.tensor("t").range.lowerBound + 64)
    #expect(try file.tensor("t").range.lowerBound % 64 == 0)
  }

  // Sizes of blocks as ggml lays them out: a half and 32 nibbles are 18 bytes, and so on.
  @Test(
    arguments: [
      (.f32, "F32", 1, 4), (.f16, "F16", 1, 2), (.bf16, "BF16", 1, 2), (.q4_0, "Q4_0", 32, 18), (.q4_1, "Q4_1", 32, 20),
      (.q5_0, "Q5_0", 32, 22), (.q5_1, "Q5_1", 32, 24), (.q8_0, "Q8_0", 32, 34), (.q2_K, "Q2_K", 256, 84),
      (.q3_K, "Q3_K", 256, 110), (.q4_K, "Q4_K", 256, 144), (.q5_K, "Q5_K", 256, 176), (.q6_K, "Q6_K", 256, 210),
      (.iq4_nl, "IQ4_NL", 32, 18), (.iq4_xs, "IQ4_XS", 256, 136), (.mxfp4, "MXFP4", 32, 17), (.nvfp4, "NVFP4", 64, 36),
      (.q1_0, "Q1_0", 128, 18), (.q2_0, "Q2_0", 64, 18), (.i8, "I8", 1, 1), (.i16, "I16", 1, 2),
      (.i32, "I32", 1, 4), (.i64, "I64", 1, 8), (.f64, "F64", 1, 8),
    ] as [(GGUFType, String, Int, Int)])
  func `A type has its block`(_ type: GGUFType, _ name: String, _ elements: Int, _ bytes: Int) {
    #expect(type.name == name && type.blockSize == elements && type.bytesPerBlock == bytes)
  }

  @Test func `A writer that breaks its word leaves no file`() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/a"
    func tensor(_ name: String, _ type: GGUFType, _ shape: [Int]) -> GGUFTensorToWrite {
      GGUFTensorToWrite(name: name, type: type, shape: shape) { try $0.write(UInt32(0)) }
    }
    let problems: [([(String, GGUFValue)], [GGUFTensorToWrite], String)] = [
      ([], [tensor("t", .f32, [2])], "tensor 't': wrote 4 bytes where its shape needs 8"),
      (
        [], [tensor("t", .f32, [1]), tensor("t", .f32, [1])],
        "tensor 't': is there twice, or its name is empty or too long"
      ),
      ([], [tensor("", .f32, [1])], "tensor '': is there twice, or its name is empty or too long"),
      ([], [tensor("t", .f32, [])], "tensor 't': has 0 dimensions where 1 to 4 are allowed"),
      ([], [tensor("t", .f32, [0])], "tensor 't': has a dimension that is not positive"),
      (
        [], [tensor("t", .q4_K, [256, 32])],
        "tensor 't': has rows that are not whole blocks of 256 elements, as Q4_K needs"
      ),
      ([], [tensor("t", .f32, [.max])], "tensor 't': has a shape too large to address"),
      ([("k", .bool(true)), ("k", .bool(true))], [], "key 'k': is there twice, empty or too long"),
      ([("", .bool(true))], [], "key '': is there twice, empty or too long"),
      (
        [("general.alignment", .uint32(3))], [],
        "key 'general.alignment': must be a 32-bit unsigned power of two of at most 1048576"
      ),
    ]
    for (metadata, tensors, expected) in problems {
      #expect(message { try GGUF.write(metadata: metadata, tensors: tensors, to: path) } == "a: " + expected)
      #expect(scratch.contents == [])
    }
  }

  @Test func `A missing tensor is named, and the nearest one`() throws {
    let file = try GGUF(fixturePath("every.gguf"))
    #expect(
      message { _ = try file.tensor("plein") }
        == "every.gguf: tensor 'plein': is not in the file; did you mean 'plain'?")
  }

  @Test func `An array answers only to its own kind`() throws {
    let file = try GGUF(fixturePath("every.gguf"))
    let strings = try #require(file.metadata["k.strings"]?.array)
    let floats = try #require(file.metadata["k.floats"]?.array)
    #expect(
      message { _ = try strings.ints() }
        == "every.gguf: key 'k.strings': has elements of kind string where integers are expected")
    #expect(message { _ = try strings.floats() } != "no error")
    #expect(
      message { _ = try floats.strings() }
        == "every.gguf: key 'k.floats': has elements of kind float32 where strings are expected")
    #expect(message { _ = try floats.ints() } != "no error")
  }
}

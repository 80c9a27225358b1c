import Files
import Testing

/// A file of this header and as many zero bytes of data.
private func bytes(_ header: String, data: Int) -> [UInt8] {
  littleEndian(UInt64(header.utf8.count)) + Array(header.utf8) + [UInt8](repeating: 0, count: data)
}

private func tensor(_ type: String, _ shape: String, _ begin: Int, _ end: Int) -> String {
  #"{"dtype":"\#(type)","shape":\#(shape),"data_offsets":[\#(begin),\#(end)]}"#
}

struct SafetensorsTests {
  @Test func `The reference writer's file is read as it was meant`() throws {
    let file = try Safetensors(fixturePath("types.safetensors"))
    let small = [-2, -1, 0, 1, 2, 3]
    #expect(file.metadata == ["format": "np", "note": "Ångström"])
    #expect(file.names.count == 14 && Set(file.names).count == 14)
    for name in ["f64", "f32"] {
      #expect(try file.entry(name).floats() == small.map { Float($0) / 4 })
      #expect(try file.entry(name).shape == [2, 3])
    }
    #expect(try file.entry("f16").floats() == small.map { Float($0) / 4 })
    for name in ["i64", "i32", "i16", "i8"] {
      #expect(try file.entry(name).integers() == small)
      #expect(try file.entry(name).floats() == small.map { Float($0) })
    }
    for name in ["u64", "u32", "u16", "u8"] {
      #expect(try file.entry(name).integers() == [0, 1, 2])
      #expect(try file.entry(name).floats() == [0, 1, 2])
    }
    #expect(try file.entry("bool").integers() == [1, 0, 1])
    #expect(try file.entry("bool").floats() == [1, 0, 1])
    #expect(try file.entry("scalar").shape == [] && file.entry("scalar").floats() == [1.5])
    #expect(try file.entry("none").shape == [0, 4] && file.entry("none").floats() == [])
  }

  // 8 bytes of length, a 64-byte header, then 1.0 and -2.0 as bfloat16 (the upper halves of 3f800000 and c0000000).
  @Test func `A file made by hand is read, misaligned or not`() throws {
    let scratch = try Scratch()
    for padding in 0..<8 {
      let header = #"{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"# + String(repeating: " ", count: padding)
      let data: [UInt8] = [0x80, 0x3f, 0x00, 0xc0]
      let path = try scratch.file("a", littleEndian(UInt64(header.utf8.count)) + Array(header.utf8) + data)
      let file = try Safetensors(path)
      #expect(file.names == ["w"] && file["w"]?.count == 2)
      #expect(try file.entry("w").floats() == [1, -2])
    }
  }

  @Test func `A written file has the bytes the format asks for`() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/a"
    let half = TensorToWrite(name: "h", type: .f16, shape: [1]) { try $0.write(UInt16(0x3c00)) }
    try Safetensors.write([half, TensorToWrite(name: "w", floats: [1], shape: [])], metadata: ["k": "v"], to: path)
    // Falling element size: w before h. The header is padded from 133 to 136 bytes.
    let header =
      #"{"__metadata__":{"k":"v"},"h":{"data_offsets":[4,6],"dtype":"F16","shape":[1]},"#
      + #""w":{"data_offsets":[0,4],"dtype":"F32","shape":[]}}"#
    #expect(header.utf8.count == 131)
    let expected =
      littleEndian(UInt64(136)) + Array(header.utf8) + [UInt8](repeating: 0x20, count: 5) + [0, 0, 0x80, 0x3f, 0, 0x3c]
    #expect(try contents(path) == expected)
  }

  @Test func `Writing and reading gives the tensors back`() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/a"
    let tensors = ElementType.allCases.enumerated().map { index, type in
      TensorToWrite(name: "t.\(index)/../é\n", type: type, shape: [index % 3, 5]) { writer in
        for byte in 0..<index % 3 * 5 * type.size { try writer.write(UInt8(byte)) }
      }
    }
    try Safetensors.write(tensors, to: path)
    let file = try Safetensors(path)
    #expect(file.metadata == [:])
    for (index, type) in ElementType.allCases.enumerated() {
      let entry = try file.entry("t.\(index)/../é\n")
      #expect(entry.type == type && entry.shape == [index % 3, 5])
      #expect(entry.withBytes(Array.init) == (0..<index % 3 * 5 * type.size).map { UInt8($0) })
      #expect(entry.range.lowerBound % type.size == 0)
    }
  }

  @Test func `A writer that breaks its word leaves no file`() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/a"
    let short = TensorToWrite(name: "w", type: .f32, shape: [2]) { try $0.write(UInt32(0)) }
    let good = TensorToWrite(name: "w", floats: [1], shape: [1])
    let problems: [([TensorToWrite], String)] = [
      ([short], "a: tensor 'w': wrote 4 bytes where its shape needs 8"),
      ([TensorToWrite(name: "w", floats: [1, 2], shape: [1])], "a: tensor 'w': wrote 8 bytes where its shape needs 4"),
      ([good, good], "a: tensor 'w': the name is reserved or already taken"),
      (
        [TensorToWrite(name: "__metadata__", floats: [1], shape: [1])],
        "a: tensor '__metadata__': the name is reserved or already taken"
      ),
      (
        [TensorToWrite(name: "w", floats: [], shape: [-1])], "a: tensor 'w': shape [-1] is negative or too large"
      ),
      (
        [TensorToWrite(name: "w", floats: [], shape: [.max])],
        "a: tensor 'w': shape [\(Int.max)] is negative or too large"
      ),
    ]
    for (tensors, expected) in problems {
      #expect(message { try Safetensors.write(tensors, to: path) } == expected)
      #expect(scratch.contents == [])
    }
  }

  @Test(arguments: [
    ("no tensor", "{}", 0), ("only metadata", #"{"__metadata__":{"format":"pt"}}"#, 0),
    ("trailing spaces", #"{"a":\#(tensor("F32", "[1]", 0, 4))}       "#, 4),
    ("rank 0", #"{"a":\#(tensor("F64", "[]", 0, 8))}"#, 8),
    ("zero-size", #"{"b":\#(tensor("F32", "[1]", 0, 4)),"a":\#(tensor("F32", "[0]", 4, 4))}"#, 4),
    ("zero-size in front", #"{"a":\#(tensor("F32", "[1]", 0, 4)),"b":\#(tensor("F32", "[3,0]", 0, 0))}"#, 4),
    ("a name with a path in it", #"{"../../x":\#(tensor("U8", "[1]", 0, 1))}"#, 1),
    ("an empty name", #"{"":\#(tensor("U8", "[1]", 0, 1))}"#, 1),
  ])
  func `An unusual file is accepted`(_ what: String, _ header: String, _ data: Int) throws {
    let scratch = try Scratch()
    #expect(throws: Never.self) { try Safetensors(scratch.file("a", bytes(header, data: data))) }
  }

  @Test(arguments: [
    ("", 0, "ends inside its header"), ("[]", 0, "has a header that is not a JSON object"),
    (" {}", 0, "has a header that is not a JSON object"),
    ("{", 0, "header: expected a key in double quotes, found the end of the text"),
    ("{}x", 0, "header: text follows the end of the JSON value"),
    ("{}", 1, "has 1 bytes after its last tensor"),
    (#"{"a":1}"#, 0, "tensor 'a': has no 'dtype' string"),
    (#"{"a":{}}"#, 0, "tensor 'a': has no 'dtype' string"),
    (#"{"a":{"dtype":"F32"}}"#, 0, "tensor 'a': has no 'shape' array"),
    (#"{"a":{"dtype":"F32","shape":[1]}}"#, 4, "tensor 'a': has no 'data_offsets' pair"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#, 4, "tensor 'a': has no 'data_offsets' pair"),
    (#"{"a":\#(tensor("F99", "[1]", 0, 4))}"#, 4, "tensor 'a': has elements of type 'F99', which cannot be read"),
    (#"{"a":\#(tensor("F32", "[2]", 0, 4))}"#, 4, "tensor 'a': has 4 bytes where its shape and type need 8"),
    (#"{"a":\#(tensor("F32", "[-1]", 0, 4))}"#, 4, "tensor 'a': has a dimension that is not a whole number"),
    (#"{"a":\#(tensor("F32", "[1.0]", 0, 4))}"#, 4, "tensor 'a': has a dimension that is not a whole number"),
    (
      #"{"a":\#(tensor("F32", "[18446744073709551617]", 0, 4))}"#, 4,
      "tensor 'a': has a dimension that is not a whole number"
    ),
    (
      #"{"a":\#(tensor("F32", "[4611686018427387905]", 0, 4))}"#, 4, "tensor 'a': has a shape too large to address"
    ),
    (
      #"{"a":\#(tensor("U8", "[4294967296,4294967296,0]", 0, 0))}"#, 0,
      "tensor 'a': has a shape too large to address"
    ),
    (#"{"a":\#(tensor("F32", "[1]", 4, 0))}"#, 4, "tensor 'a': begins at byte 4 and ends before, at 0"),
    (#"{"a":\#(tensor("F32", "[1]", -4, 0))}"#, 4, "tensor 'a': has a data offset that is not a whole number"),
    (
      #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}"#, 4,
      "tensor 'a': has a data offset that is not a whole number"
    ),
    (
      #"{"a":\#(tensor("F32", "[2]", 0, 8))}"#, 4,
      "tensor 'a': ends at byte 8 of the data but the file holds 4; the file may be truncated; fetch it again"
    ),
    (
      #"{"a":\#(tensor("F32", "[2]", 0, 8)),"b":\#(tensor("F32", "[2]", 4, 12))}"#, 12,
      "tensor 'b': overlaps the tensor before it"
    ),
    (
      #"{"a":\#(tensor("F32", "[1]", 0, 4)),"b":\#(tensor("F32", "[1]", 0, 4))}"#, 4,
      "tensor 'b': overlaps the tensor before it"
    ),
    (
      #"{"a":\#(tensor("F32", "[1]", 0, 4)),"b":\#(tensor("F32", "[1]", 8, 12))}"#, 12,
      "tensor 'b': leaves unused bytes before it"
    ),
    (#"{"a":\#(tensor("F32", "[1]", 4, 8))}"#, 8, "tensor 'a': leaves unused bytes before it"),
    (#"{"a":\#(tensor("F32", "[1]", 0, 4))}"#, 5, "has 1 bytes after its last tensor"),
    (
      #"{"a":\#(tensor("F32", "[1]", 0, 4)),"a":\#(tensor("F32", "[1]", 0, 4))}"#, 4, "header: duplicate key 'a'"
    ),
    (
      "{\"\u{c5}\":\(tensor("U8", "[1]", 0, 1)),\"\u{212b}\":\(tensor("U8", "[1]", 1, 2))}", 2,
      "has a header with names that differ only in how Unicode composes them"
    ),
    (#"{"__metadata__":{"a":1}}"#, 0, "'__metadata__': the value of 'a' is not a string"),
    (#"{"__metadata__":"a"}"#, 0, "'__metadata__': is not an object"),
    (
      #"{"a":"# + String(repeating: "[", count: 10_000), 0, "header: values are nested more than 128 deep"
    ),
  ])
  func `A hostile header is refused`(_ header: String, _ data: Int, _ expected: String) throws {
    let scratch = try Scratch()
    let path = try scratch.file("a", bytes(header, data: data))
    let error = message { _ = try Safetensors(path) }
    #expect(error == (header.isEmpty ? "a: has a header that is not a JSON object" : "a: " + expected))
  }

  @Test(arguments: 0..<8) func `A file shorter than its length field is refused`(_ size: Int) throws {
    let scratch = try Scratch()
    let path = try scratch.file("a", [UInt8](repeating: 0, count: size))
    #expect(
      message { _ = try Safetensors(path) } == "a: is \(size) bytes long, too short for a safetensors file")
  }

  @Test(
    arguments: [
      (3, "a: ends inside its header; the file may be truncated; fetch it again"),
      (100_000_000, "a: ends inside its header; the file may be truncated; fetch it again"),
      (100_000_001, nil), (1 << 63, nil), (.max, nil), (.max - 7, nil),
    ] as [(UInt64, String?)])
  func `A header length beyond file or limit is refused`(_ length: UInt64, _ expected: String?) throws {
    let scratch = try Scratch()
    let path = try scratch.file("a", littleEndian(length) + [0x7b, 0x7d])
    let limit =
      "a: claims a header of \(length) bytes, more than the 100000000 allowed; is it a safetensors file?"
    #expect(message { _ = try Safetensors(path) } == expected ?? limit)
  }

  @Test func `A header that is not UTF-8 is refused`() throws {
    let scratch = try Scratch()
    let header: [UInt8] = [0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]
    let path = try scratch.file("a", littleEndian(UInt64(7)) + header)
    #expect(message { _ = try Safetensors(path) } == "a: header: the string is not valid UTF-8")
  }

  @Test func `A name of ten megabytes and a hundred thousand tensors are nothing special`() throws {
    let scratch = try Scratch()
    let name = String(repeating: "n", count: 10_000_000)
    let named = try scratch.file("a", bytes("{\"\(name)\":\(tensor("U8", "[2]", 0, 1))}", data: 1))
    #expect(message { _ = try Safetensors(named) }.utf8.count < 200)
    let many = (0..<100_000).map { "\"\($0)\":\(tensor("U8", "[1]", $0, $0 + 1))" }.joined(separator: ",")
    let file = try Safetensors(scratch.file("b", bytes("{\(many)}", data: 100_000)))
    #expect(file.names == (0..<100_000).map(String.init))
  }

  @Test func `A file cut anywhere is refused`() throws {
    let scratch = try Scratch()
    let whole = try fixture("types.safetensors")
    for length in 0..<whole.count {
      let path = try scratch.file("a", Array(whole[..<length]))
      #expect(message { _ = try Safetensors(path) }.hasPrefix("a: "), "cut to \(length) bytes")
    }
  }

  @Test func `A damaged file throws or opens, never more`() throws {
    let scratch = try Scratch()
    let whole = try fixture("types.safetensors")
    var random = SplitMix(state: 3)
    for round in 0..<1000 {
      let path = try scratch.file("a", mutated(whole, &random))
      let error = message {
        let file = try Safetensors(path)
        for name in file.names {
          _ = try file.entry(name).floats()
          _ = try? file.entry(name).integers()
        }
      }
      #expect(error == "no error" || error.hasPrefix("a: "), "round \(round)")
    }
  }

  @Test func `A missing tensor is named, and the nearest one`() throws {
    let file = try Safetensors(fixturePath("types.safetensors"))
    #expect(
      message { _ = try file.entry("scaler") }
        == "types.safetensors: tensor 'scaler': is not in the file; did you mean 'scalar'?")
    #expect(file["scaler"] == nil)
  }

  @Test func `Integers are asked of integers only`() throws {
    let file = try Safetensors(fixturePath("types.safetensors"))
    #expect(
      message { _ = try file.entry("f16").integers() }
        == "types.safetensors: tensor 'f16': has elements of type F16 where integers are expected")
    let scratch = try Scratch()
    let path = scratch.path + "/a"
    try Safetensors.write(
      [TensorToWrite(name: "w", type: .u64, shape: [1]) { try $0.write(UInt64(1) << 63) }], to: path)
    #expect(
      message { _ = try Safetensors(path).entry("w").integers() }
        == "a: tensor 'w': the element 9223372036854775808 does not fit 64 signed bits")
    #expect(try Safetensors(path).entry("w").floats() == [0x1p63])
  }
}

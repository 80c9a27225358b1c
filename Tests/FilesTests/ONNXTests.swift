import Testing

@testable import Files

/// A protobuf field that holds bytes.
private func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
  [number << 3 | 2] + varint(UInt64(bytes.count)) + bytes
}

private func field(_ number: UInt8, _ text: String) -> [UInt8] { field(number, Array(text.utf8)) }

/// A protobuf field that holds a whole number.
private func field(_ number: UInt8, _ value: UInt64) -> [UInt8] { [number << 3] + varint(value) }

private func varint(_ value: UInt64) -> [UInt8] {
  value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7f) | 0x80] + varint(value >> 7)
}

/// A model with these fields of a graph.
private func model(_ graph: [UInt8]) -> [UInt8] { field(1, UInt64(8)) + field(7, graph) }

/// A model with one initialiser `w` of single precision and these dimensions and further fields.
private func model(dimensions: [UInt64], kind: UInt64 = 1, _ more: [UInt8], name: String = "w") -> [UInt8] {
  model(field(5, dimensions.flatMap { field(1, $0) } + field(2, kind) + field(8, name) + more))
}

struct ONNXTests {
  let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func refusal(_ bytes: [UInt8]) throws -> String {
    let path = try scratch.file("a.onnx", bytes)
    return String(
      message {
        let model = try ONNXModel(path)
        for name in model.names { _ = try model.entry(name).floats() }
      }.dropFirst("a.onnx: ".count))
  }

  private func expectEqual(_ file: some NamedArrays, _ reference: String) throws {
    let expected = try Safetensors(fixturePath(reference))
    #expect(file.names.sorted() == expected.names.sorted())
    for name in expected.names {
      let entry = try file.entry(name), wanted = try expected.entry(name)
      #expect(entry.type == wanted.type && entry.shape == wanted.shape, "\(name)")
      #expect(try entry.withBytes(Array.init) == wanted.withBytes(Array.init), "\(name)")
    }
  }

  @Test func `Every type is read, raw or in the field of its own`() throws {
    let model = try ONNXModel(fixturePath("model.onnx"))
    try expectEqual(model, "model-onnx.safetensors")
    #expect(model.producer == "fixtures" && model.operatorSet == 17)
    #expect(model.inputs == ["x"] && model.outputs == ["z"])
    #expect(model.note == "ONNX, 3 nodes, operator set 17")
  }

  @Test func `Nodes keep their operation, their names and their attributes`() throws {
    let nodes = try ONNXModel(fixturePath("model.onnx")).nodes
    let conv = try #require(nodes.first)
    #expect(conv.operation == "Conv" && conv.name == "/stem/Conv" && conv.domain.isEmpty)
    #expect(conv.inputs == ["x", "f32", ""] && conv.outputs == ["y"])
    #expect(conv.attributes.count == 5)
    guard case .integers([1, 1]) = conv.attributes["pads"], case .float(0.5) = conv.attributes["alpha"],
      case .integer(2) = conv.attributes["group"], case .text("SAME_UPPER") = conv.attributes["auto_pad"],
      case .floats([0.25, 4]) = conv.attributes["scales"]
    else {
      Issue.record("\(conv.attributes)")
      return
    }
    guard case .tensor(let value) = nodes[1].attributes["value"] else {
      Issue.record("\(nodes[1])")
      return
    }
    #expect(value.name.isEmpty && value.shape == [2])
    #expect(try value.integers() == [3, -1])
    #expect(nodes[2].domain == "com.microsoft")
  }

  @Test func `An exported encoder gets the names and the matrices of its module back`() throws {
    try expectEqual(try ONNXModules.dinov2(try ONNXModel(fixturePath("dinov2.onnx"))), "dinov2.safetensors")
    try expectEqual(try ONNXModules.bert(try ONNXModel(fixturePath("bert.onnx"))), "bert.safetensors")
    let all = try ONNXModules(try ONNXModel(fixturePath("bert.onnx")))
    #expect(all.names.count == 37 && all.names.allSatisfy { $0.hasPrefix("auto_model.") })
    #expect(
      message { _ = try ONNXModules.dinov2(try ONNXModel(fixturePath("bert.onnx"))) }
        == "bert.onnx: has 0 tensors called 'embeddings.cls_token'; is it a DINOv2 model exported from PyTorch?")
  }

  @Test func `A module is what its node's name says`() {
    #expect(ONNXModules.module(of: "/encoder/layer.0/query/MatMul") == "encoder.layer.0.query")
    #expect(ONNXModules.module(of: "/encoder/layer/layer.0/query/MatMul") == "encoder.layer.0.query")
    #expect(ONNXModules.module(of: "/model/model.0/auto/MatMul") == "model.0.auto")
    for name in ["", "/MatMul", "MatMul", "MatMul_3", "/a/MatMul_1", "/a/Add"] {
      #expect(ONNXModules.module(of: name) == nil, "\(name)")
    }
  }

  @Test func `Two weights of one name are refused`() throws {
    func tensor(_ name: String) -> [UInt8] {
      field(
        5, field(1, UInt64(1)) + field(1, UInt64(1)) + field(2, UInt64(1)) + field(8, name) + field(9, [0, 0, 0, 0]))
    }
    let node = field(1, field(1, "x") + field(1, "onnx::MatMul_1") + field(3, "/a/MatMul") + field(4, "MatMul"))
    let path = try scratch.file("a.onnx", model(tensor("a.weight") + tensor("onnx::MatMul_1") + node))
    #expect(
      message { _ = try ONNXModules(try ONNXModel(path)) } == "a.onnx: tensor 'a.weight': is the name of two weights")
  }

  @Test func `Packed numbers may come one by one or in pieces`() throws {
    let ones: [UInt8] = [0, 0, 0x80, 0x3f]
    let single = [UInt8(4 << 3 | 5)] + ones
    let path = try scratch.file("a.onnx", model(dimensions: [3], single + field(4, ones + ones)))
    #expect(try ONNXModel(path).entry("w").floats() == [1, 1, 1])
    let mixed = try scratch.file("b.onnx", model(dimensions: [3], kind: 3, field(5, UInt64.max) + field(5, [1, 0x7f])))
    #expect(try ONNXModel(mixed).entry("w").floats() == [-1, 1, 127])
    let packed = try scratch.file(
      "c.onnx", model(field(5, field(1, [2, 1]) + field(2, UInt64(2)) + field(8, "w") + field(9, [7, 8]))))
    #expect(try ONNXModel(packed).entry("w").shape == [2, 1])
  }

  @Test func `A tensor's claims are checked before it is read`() throws {
    #expect(
      try refusal(model(dimensions: [2], field(9, [0, 0, 0, 0])))
        == "tensor 'w': has 4 bytes where its shape and type need 8")
    #expect(
      try refusal(model(dimensions: [.max], field(9, []))) == "initialiser 0: has a negative dimension, or more than 16"
    )
    #expect(try refusal(model(dimensions: [UInt64](repeating: 1, count: 17), [])).contains("more than 16"))
    #expect(try refusal(model(dimensions: [1 << 62, 1 << 62], [])) == "tensor 'w': has a shape too large to address")
    #expect(try refusal(model(dimensions: [1 << 40], [])).contains("has 0 bytes where its shape"))
    #expect(
      try refusal(model(dimensions: [1], kind: 8, [])) == "tensor 'w': has elements of type 8, which cannot be read")
    #expect(
      try refusal(model(dimensions: [1], kind: 3, field(5, [0x80, 1])))
        == "tensor 'w': has the element 128, too large for I8")
    #expect(try refusal(model(dimensions: [1], kind: 2, field(5, UInt64.max))).contains("too large for U8"))
    #expect(try refusal(model(dimensions: [1], field(14, UInt64(1)))).contains("is kept outside the file"))
    #expect(try refusal(model(dimensions: [1], field(3, []))).contains("is a part of a larger tensor"))
    #expect(try refusal(model(dimensions: [1], field(9, UInt64(1)))).contains("in a form that ONNX does not use"))
    #expect(try refusal(model(dimensions: [0], [], name: "")) == "initialiser 0: has no name")
    let one = field(5, field(1, UInt64(0)) + field(2, UInt64(1)) + field(8, "w"))
    #expect(try refusal(model(one + one)) == "tensor 'w': is there twice")
    #expect(try refusal(model(field(15, []))) == "has sparse initialisers, which cannot be read")
    #expect(try refusal(model(field(1, []))) == "node 0: has no operation")
  }

  @Test func `Bytes that are no messages are refused where they stand`() throws {
    let ending = "; is it an ONNX model? it may be truncated; fetch it again"
    #expect(try refusal([]) == "holds no graph; is it an ONNX model?")
    #expect(try refusal(field(7, []) + field(7, [])) == "holds two graphs")
    #expect(try refusal([7 << 3 | 2, 5, 0]) == "byte 2: claims 5 bytes where 1 are left" + ending)
    #expect(try refusal([7 << 3 | 2] + varint(.max)).contains("claims 18446744073709551615 bytes"))
    #expect(try refusal([0]) == "byte 1: has a field of number 0" + ending)
    #expect(try refusal([1 << 3 | 3]).contains("has a field of wire type 3"))
    #expect(try refusal([1 << 3] + [UInt8](repeating: 0x80, count: 20)).contains("has a number without end"))
    #expect(try refusal([1 << 3] + [UInt8](repeating: 0x80, count: 9) + [2]).contains("more than 64 bits"))
    #expect(try refusal([1 << 3, 0x80]).contains("has a number without end"))
    #expect(try refusal(field(2, [0xff])).contains("the producer's name is not UTF-8"))
    // Two bytes a node: a small file must not become a large list.
    let nodes = (0..<(1 << 19) + 9).flatMap { _ in field(1, [4 << 3 | 2, 1, 65]) }
    #expect(try refusal(model(nodes + nodes)).contains("has more than 1048576 nodes"))
  }
}

import Files
import Testing

struct ShardIndexTests {
  private func folder(index: String) throws -> Scratch {
    let scratch = try Scratch()
    try Safetensors.write(
      [TensorToWrite(name: "a", floats: [1], shape: [1])], metadata: ["k": "first"], to: scratch.path + "/1.safetensors"
    )
    try Safetensors.write(
      [TensorToWrite(name: "b", floats: [2], shape: [1])], metadata: ["k": "second", "l": "x"],
      to: scratch.path + "/2.safetensors")
    _ = try scratch.file("model.safetensors.index.json", index)
    return scratch
  }

  @Test func `A split model reads as one`() throws {
    let scratch = try folder(
      index: #"{"metadata":{"total_size":8},"weight_map":{"b":"2.safetensors","a":"1.safetensors"}}"#)
    let model = try Safetensors(folder: scratch.path)
    #expect(model.names == ["a", "b"] && model.metadata == ["k": "first", "l": "x"])
    #expect(try model.entry("a").floats() == [1] && model.entry("b").floats() == [2])
    #expect(message { _ = try model.entry("c") }.hasSuffix(": tensor 'c': is not in the file"))
  }

  @Test func `A single file goes before an index`() throws {
    let scratch = try folder(index: "no JSON")
    try Safetensors.write(
      [TensorToWrite(name: "c", floats: [3], shape: [1])], to: scratch.path + "/model.safetensors")
    #expect(try Safetensors(folder: scratch.path).names == ["c"])
  }

  @Test func `A folder without weights says what it lacks`() throws {
    let scratch = try Scratch()
    #expect(
      message { _ = try Safetensors(folder: scratch.path) }
        .hasSuffix(": holds neither 'model.safetensors' nor 'model.safetensors.index.json'"))
  }

  @Test(arguments: [
    (#"{}"#, "'weight_map': is missing or is not an object with tensors in it"),
    (#"{"weight_map":{}}"#, "'weight_map': is missing or is not an object with tensors in it"),
    (#"{"weight_map":[]}"#, "'weight_map': is missing or is not an object with tensors in it"),
    (#"{"weight_map":{"a":1}}"#, "tensor 'a': is not given the name of a file"),
    (
      #"{"weight_map":{"a":"../1.safetensors"}}"#,
      "tensor 'a': is said to be in '../1.safetensors', outside this folder"
    ),
    (#"{"weight_map":{"a":"/etc/passwd"}}"#, "tensor 'a': is said to be in '/etc/passwd', outside this folder"),
    (#"{"weight_map":{"a":".."}}"#, "tensor 'a': is said to be in '..', outside this folder"),
    (#"{"weight_map":{"a":""}}"#, "tensor 'a': is said to be in '', outside this folder"),
    (#"{"weight_map":{"a":"1\u0000"}}"#, "tensor 'a': is said to be in '1\u{fffd}', outside this folder"),
    (
      #"{"weight_map":{"a":"2.safetensors"}}"#, "tensor 'a': is not in '2.safetensors', where the index places it"
    ),
    (
      #"{"weight_map":{"a":"2.safetensors","b":"1.safetensors"}}"#,
      "tensor 'a': is not in '2.safetensors', where the index places it"
    ),
  ])
  func `A faulty index is refused`(_ index: String, _ expected: String) throws {
    let scratch = try folder(index: index)
    #expect(
      message { _ = try Safetensors(folder: scratch.path) } == "model.safetensors.index.json: " + expected)
  }

  @Test func `A missing file and a tensor in two files are refused`() throws {
    let missing = try folder(index: #"{"weight_map":{"a":"3.safetensors"}}"#)
    #expect(
      message { _ = try Safetensors(folder: missing.path) }
        == "3.safetensors: cannot be opened: no such file or directory")
    let doubled = try folder(index: #"{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#)
    try Safetensors.write(
      [TensorToWrite(name: "a", floats: [2], shape: [1]), TensorToWrite(name: "b", floats: [2], shape: [1])],
      to: doubled.path + "/2.safetensors")
    let error = message { _ = try Safetensors(folder: doubled.path) }
    #expect(error.hasPrefix("2.safetensors: tensor 'a': is also in file '") && error.hasSuffix("/1.safetensors'"))
  }
}

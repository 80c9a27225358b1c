import Files
import Foundation
import Testing

/// `graft quantize` of networks of images as a user runs it.
struct ImageQuantizeTests {
  private let scratch: Scratch
  private let data = URL(fileURLWithPath: fixtures).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Data").path

  init() throws { scratch = try Scratch() }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  private func sequence(_ model: String, _ output: String, _ more: String) throws -> (json: JSON, predictions: [String])
  {
    let task =
      "{name: animals, train: \(data)/animals/train.h5, test: \(data)/animals/test.h5, parts: 2, per_class: 4, test_per_class: 6}"
    try scratch.write(
      """
      output_dir: \(output)
      model: \(model)
      image_size: 32
      tasks: [\(task)]
      train: {epochs: 2, batch_size: 10, learning_rate: 1e-3}
      \(more)
      """, to: "sequence.yaml")
    let ending = try Command(["sequence", "sequence.yaml", "--json"], in: scratch.path).end(within: 120)
    try #require(ending.code == 0, "\(ending.errors)")
    let predictions = try String(contentsOfFile: "\(scratch.path)/\(output)/predictions.csv", encoding: .utf8)
    return (try JSON(parsing: ending.output), predictions.split(separator: "\n").map(String.init))
  }

  @Test(arguments: [
    ("trunk", "int8-g32", "strategies: [head, clr]"),
    (
      "vit", "q8_0",
      "strategies: [head, adapter]\nadapter: {type: lora, rank: 2, target_modules: [q_proj, v_proj]}"
    ),
  ])
  func `A sequence learns on a packed network without changing a byte of it, much as on the one it was made from`(
    _ model: String, _ packing: String, _ more: String
  ) throws {
    try FileManager.default.copyItem(
      atPath: model == "vit" ? fixtures + "/models/vit-tiny" : data + "/cifar-trunk", toPath: scratch.path + "/float")
    let packed = try run("quantize", "float", "--packing", packing, "--output", "packed")
    try #require(packed.code == 0, "\(packed.errors)")
    #expect(packed.errors.contains("stage 2/") && packed.output.contains("files"))
    let inspected = try run("inspect", "packed", "--linears")
    #expect(inspected.code == 0 && inspected.output.lowercased().contains("\(packing): "), "\(inspected.output)")
    let before = try scratch.bytes("packed/model.safetensors")
    #expect(Double(before.count) < 0.4 * Double(try scratch.bytes("float/model.safetensors").count))
    let (float, found) = (try sequence("float", "a", more), try sequence("packed", "b", more))
    #expect(try scratch.bytes("packed/model.safetensors") == before)
    for result in found.json["results"]?.array ?? [] { #expect(result["outputs_unchanged"] == .bool(true)) }
    // Only where two classes are within a percent or so of each other may the answer be another.
    let same = zip(float.predictions, found.predictions).count { $0 == $1 }
    #expect(float.predictions.count == found.predictions.count && found.predictions.count == 1 + 2 * 2 * 5 * 6)
    #expect(same * 10 >= 9 * found.predictions.count, "\(same) of \(found.predictions.count)")
  }

  @Test func `How images are read goes with the network, and a recipe says what options say`() throws {
    try scratch.copy("models/resnet", as: "net")
    try scratch.write("{\"image_mean\": [0.1, 0.2, 0.3], \"image_std\": [1, 1, 1]}", to: "net/preprocessor_config.json")
    try scratch.write("model: net\noutput: one\npacking: int8-row\nskip: [shortcut.convolution]\n", to: "packing.yaml")
    let one = try run("quantize", "packing.yaml", "--json")
    try #require(one.code == 0, "\(one.errors)")
    let report = try JSON(parsing: one.output)
    #expect(report["left"]?.array?.contains { $0["reason"] == .string("it is to be skipped") } == true)
    #expect((report["file_bytes"]?.int ?? .max) < (report["file_bytes_before"]?.int ?? 0))
    let two = try run("quantize", "net", "--packing", "int8-row", "--output", "two", "--skip", "shortcut.convolution")
    try #require(two.code == 0, "\(two.errors)")
    for name in ["model.safetensors", "config.json", "preprocessor_config.json"] {
      #expect(try scratch.bytes("one/" + name) == scratch.bytes("two/" + name))
    }
    #expect(try scratch.bytes("one/preprocessor_config.json") == scratch.bytes("net/preprocessor_config.json"))
    // Another network's way of reading images does not stay behind.
    try scratch.copy("models/vit-tiny", as: "vit")
    let stale = try run("quantize", "vit", "--packing", "int8-row", "--output", "one")
    #expect(stale.code == 0 && !Folder.exists(scratch.path + "/one/preprocessor_config.json"), "\(stale.errors)")
  }

  @Test(arguments: [
    (["--packing", "int4-g32", "--method", "gptq"], 2, "gptq measures what layers make of a text"),
    (
      ["--packing", "int4-g32", "--method", "awq", "--calibration", "x.txt"], 2,
      "packed by rounding, with --clip weights"
    ),
    (["--packing", "int4-g32", "--method", "adadim"], 2, "adadim measures"),
    (["--packing", "fp4-g32", "--method", "fp4"], 2, "fp4 measures"),
    (["--packing", "int4-g32", "--method", "os+"], 2, "os+ measures"),
    (["--packing", "int4-g32", "--clip", "outputs"], 2, "a choice of ranges by outputs measures"),
    (["--packing", "int4-g32", "--calibration", "x.txt"], 2, "a calibration text was given"),
    (["--packing", "int4-g32", "--sequences", "3"], 2, "a number of sequences was given"),
    (["--packing", "int4-g32", "--embedding", "q8_0"], 2, "has no embedding table"),
    (["--packing", "int4-g32", "--skip", "q_porj"], 2, "no layer is to be skipped by the name 'q_porj'"),
    (["--packing", "q8_0", "--clip", "weights"], 2, "has rules of its own"),
    (["--packing", "int8-g256"], 2, "whose rows have 16, 144, 147, 288 columns"),
    (["--packing", "int8-g256"], 2, "choose one whose block divides some of them, such as int8-g32"),
    ([], 2, "no packing was chosen"),
  ])
  func `What cannot be done is refused, and nothing is written`(
    _ arguments: [String], _ code: Int, _ problem: String
  ) throws {
    try scratch.copy("models/resnet", as: "net")
    let ending = try Command.run(["quantize", "net", "--output", "packed"] + arguments, in: scratch.path)
    #expect(Int(ending.code) == code && ending.errors.contains(problem), "\(ending.code) \(ending.errors)")
    #expect(!Folder.exists(scratch.path + "/packed"))
  }

  @Test func `No GGUF file, no place that is the base's own, and no network without a row to pack`() throws {
    try scratch.copy("models/cifar-tiny", as: "net")
    let none = try run("quantize", "net", "--packing", "int8-g32", "--output", "packed")
    #expect(
      none.code == 2 && none.errors.contains("no packing takes rows that are no multiple of 32"), "\(none.errors)")
    let file = try run("quantize", "net", "--packing", "q8_0", "--output", "net.gguf")
    #expect(file.code == 3 && file.errors.contains("of the Llama family"), "\(file.errors)")
    let bytes = try scratch.bytes("net/model.safetensors")
    let own = try run("quantize", "net", "--packing", "int8-g32", "--output", "./net/.")
    #expect(own.code == 2 && own.errors.contains("own folder"), "\(own.errors)")
    #expect(try scratch.bytes("net/model.safetensors") == bytes)
  }

  @Test(arguments: [
    "vit.encoder.layer.2.intermediate.dense.weight", "vit.layernorm.bias", "classifier.weight",
  ])
  func `A weight that is not a number is told by its tensor, and an older folder stays whole`(_ name: String) throws {
    try scratch.copy("models/vit-tiny", as: "net")
    try #require(try run("quantize", "net", "--packing", "int8-g32", "--output", "packed").code == 0)
    let before = try scratch.bytes("packed/model.safetensors"), path = scratch.path + "/net/model.safetensors"
    let entry = try Safetensors(path).entry(name)
    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    bytes.replaceSubrange(entry.range.lowerBound + 40..<entry.range.lowerBound + 44, with: [0, 0, 0xc0, 0x7f])
    try bytes.write(to: URL(fileURLWithPath: path))
    let ending = try run("quantize", "net", "--packing", "int4-g64", "--output", "packed")
    #expect(
      ending.code == 3 && ending.errors.contains("tensor '\(name)'") && ending.errors.contains("number 10 of"),
      "\(ending.errors)")
    #expect(try scratch.bytes("packed/model.safetensors") == before)
  }
}

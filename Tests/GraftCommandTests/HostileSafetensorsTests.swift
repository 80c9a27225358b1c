import Foundation
import Testing

/// Damaged safetensors files, read as a model's weights and as an adapter's.
struct HostileSafetensorsTests {
  private static let table = "model.embed_tokens.weight", norm = "model.norm.weight"
  private static let model = SafetensorsParts(fixture: "models/llama-tied/model.safetensors")
  private static let adapter = SafetensorsParts(fixture: "adapters/llama-untied/lora/adapter_model.safetensors")

  private static let cuts: [Hostile] =
    (Array(0...9) + [64, 1000, 2055, 2056, 2063, 2064, 2065, 5000, 200_000, 453_903]).map { length in
      Hostile("cut to \(length) bytes") { Array(model.bytes.prefix(length)) }
    }

  private static let lengths: [Hostile] = [
    (UInt64(0), "is not a JSON object"), (1, "header"), (2050, "header"), (2055, "1 bytes after"), (2058, "header"),
    (453_896, "header"), (453_897, "ends inside its header"), (100_000_000, "ends inside its header"),
    (100_000_001, "more than"),
    (1 << 31, "more than"), (1 << 63, "more than"), (.max, "more than"),
  ].map { length, words in
    Hostile("header of \(length) bytes", says: words) { model.bytes(claiming: length) }
  }

  private static let entries: [Hostile] = [
    changed("five dimensions", table, #""shape":[1,1,1,320,64]"#, says: "has shape [1, 1, 1, 320, 64]"),
    changed("no dimension", table, #""shape":[]"#, says: "need 4"),
    changed("a hundred dimensions", table, "\"shape\":[\(String(repeating: "1,", count: 100))320,64]", says: "…]"),
    changed("transposed", table, #""shape":[64,320]"#, says: "has shape [64, 320]"),
    changed("too few numbers", table, #""shape":[320,63]"#, says: "need 80640"),
    changed("product beyond 2^64", table, #""shape":[4294967296,4294967296,2]"#, says: "too large to address"),
    changed("negative size", table, #""shape":[-320,-64]"#, says: "not a whole number"),
    changed("size with a point", table, #""shape":[320.0,64]"#, says: "not a whole number"),
    changed("size 1e400", table, #""shape":[1e400,64]"#, says: "out of range"),
    changed("size beyond 2^64", table, #""shape":[99999999999999999999,64]"#, says: "not a whole number"),
    changed("shape that is a text", table, #""shape":"320,64""#, says: "no 'shape' array"),
    changed("type F16", table, #""dtype":"F16""#, says: "need 40960"),
    changed("type I32", table, #""dtype":"I32""#, says: "holds I32"),
    changed("type in small letters", table, #""dtype":"f32""#, says: "'f32'"),
    changed("type F8_E4M3", table, #""dtype":"F8_E4M3""#, says: "'F8_E4M3'"),
    changed("type that is a number", table, #""dtype":5"#, says: "no 'dtype'"),
    changed("offsets swapped", table, #""data_offsets":[81920,0]"#, says: "ends before"),
    changed("offsets past the end", table, #""data_offsets":[0,999999999999]"#, says: "the file holds"),
    changed("offsets near 2^63", table, #""data_offsets":[9223372036854775807,9223372036854775807]"#, says: "holds"),
    changed("offset beyond 2^64", table, #""data_offsets":[0,18446744073709551616]"#, says: "not a whole number"),
    changed("negative offset", table, #""data_offsets":[-1,81919]"#, says: "not a whole number"),
    changed("one offset", table, #""data_offsets":[0]"#, says: "no 'data_offsets' pair"),
    changed("overlap", norm, #""data_offsets":[0,256]"#, says: "overlaps"),
    changed("duplicate field", table, #""dtype":"F32","dtype":"F32""#, says: "duplicate key 'dtype'"),
    Hostile("no elements of 2^40 columns", says: "[1099511627776, 0]") {
      // The norm is the last tensor: without elements, its bytes go too.
      let data = Array(model.data.dropLast(256))
      return SafetensorsParts(
        header: model.header(
          replacing: norm, with: #""dtype":"F32","shape":[1099511627776,0],"data_offsets":[451584,451584]"#),
        data: data
      ).bytes
    },
  ]

  private static let headers: [Hostile] = [
    added("duplicate tensor", "\"\(norm)\":{}", says: "duplicate key"),
    header("missing tensor", says: "did you mean 'model.norn.weight'?") {
      $0.replacing(norm, with: "model.norn.weight")
    },
    added("tensor too many", "\"extra\":{\(empty)}", says: "'extra': it is no part of a model"),
    added("name of control characters", "\"a\\n\\u001b[31m\":{\(empty)}", says: "'a��[31m'"),
    added("name of a megabyte", "\"\(String(repeating: "x", count: 1 << 20))\":{\(empty)}", says: "x…'"),
    header("lone surrogate", says: "surrogate") { $0.replacing("\"pt\"", with: "\"\\ud800\"") },
    header("metadata that is a number", says: "'__metadata__'") { $0.replacing("\"pt\"", with: "5") },
    header("metadata that is a list", says: "'__metadata__'") { $0.replacing(#"{"format":"pt"}"#, with: "[]") },
    header("nested 100000 deep", says: "nested more than") { _ in
      "{\"a\":" + String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000) + "}"
    },
    header("a list", says: "not a JSON object") { _ in "[]" },
    header("no tensor", says: "after its last tensor") { _ in "{}" },
    header("space in front", says: "not a JSON object") { " " + $0 },
    header("byte order mark", says: "not a JSON object") { "\u{feff}" + $0 },
    Hostile("not UTF-8", says: "not valid UTF-8") {
      model.bytes.replacing(Array("\"pt\"".utf8), with: [0x22, 0xff, 0xfe, 0x22])
    },
    Hostile("bytes behind the end", says: "1 bytes after") { model.bytes + [0] },
    Hostile("200000 tensors without elements", says: "is not in the file") {
      let tensors = (0..<200_000).map { "\"t\($0)\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}" }
      return SafetensorsParts(header: "{\(tensors.joined(separator: ","))}", data: []).bytes
    },
  ]

  /// The model's file with other fields in one tensor's description.
  private static func changed(_ name: String, _ tensor: String, _ field: String, says words: String) -> Hostile {
    Hostile(name, says: words) {
      SafetensorsParts(header: model.header(replacing: tensor, field: field), data: model.data).bytes
    }
  }

  /// What describes a tensor without elements behind all others.
  private static let empty = #""dtype":"F32","shape":[0],"data_offsets":[451840,451840]"#

  /// The model's file with one more member in its header.
  private static func added(_ name: String, _ member: String, says words: String) -> Hostile {
    header(name, says: words) { header in header[..<(header.lastIndex(of: "}") ?? header.startIndex)] + ",\(member)}" }
  }

  private static func header(
    _ name: String, says words: String, _ change: @escaping @Sendable (String) -> String
  ) -> Hostile {
    Hostile(name, says: words) { SafetensorsParts(header: change(model.header), data: model.data).bytes }
  }

  private func modelFolder() throws -> Scratch {
    let scratch = try Scratch()
    try FileManager.default.createDirectory(atPath: scratch.path + "/m", withIntermediateDirectories: false)
    try scratch.copy("models/llama-tied/config.json", as: "m/config.json")
    return scratch
  }

  private let logits = ["logits", "m", "--ids", "1,2,3", "--out", "x.safetensors"]

  @Test(arguments: cuts + lengths + entries + headers)
  func `A model whose weights lie is refused`(_ hostile: Hostile) throws {
    let scratch = try modelFolder()
    try scratch.write(hostile.bytes(), to: "m/model.safetensors")
    try scratch.expect(logits, endsWith: [3], about: "m/model.safetensors", saying: hostile.says)
  }

  @Test(arguments: 0..<40)
  func `A model whose header is damaged is refused or read`(_ seed: Int) throws {
    let scratch = try modelFolder()
    try scratch.write(
      damaged(Self.model.bytes, within: 0..<2064, seed: seed, pieces: textPieces), to: "m/model.safetensors")
    try scratch.expect(logits, endsWith: [0, 3], about: "m/model.safetensors")
  }

  private static let factor = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"

  private static let factors: [Hostile] = [
    factor("five dimensions", #""shape":[1,1,1,4,176]"#, says: "has shape [1, 1, 1, 4, 176]"),
    factor("transposed", #""shape":[176,4]"#, says: "was it trained on another model?"),
    factor("type I16", #""dtype":"I16""#, says: "need 1408"),
    factor("offsets swapped", #""data_offsets":[2816,0]"#, says: "ends before"),
    Hostile("another name", says: "did you mean") {
      SafetensorsParts(header: adapter.header.replacing(factor, with: factor + "s"), data: adapter.data).bytes
    },
    Hostile("not a number", says: "not finite") { Array(adapter.bytes.dropLast(4)) + [0, 0, 0xc0, 0x7f] },
    Hostile("cut in the middle", says: "truncated") { Array(adapter.bytes.prefix(adapter.bytes.count / 2)) },
    Hostile("empty", says: "0 bytes long") { [] },
  ]

  private static func factor(_ name: String, _ field: String, says words: String) -> Hostile {
    Hostile(name, says: words) {
      SafetensorsParts(header: adapter.header(replacing: factor, field: field), data: adapter.data).bytes
    }
  }

  private func adapterFolder() throws -> Scratch {
    let scratch = try Scratch()
    try scratch.link("models/llama-untied", as: "m")
    try FileManager.default.createDirectory(atPath: scratch.path + "/a", withIntermediateDirectories: false)
    try scratch.copy("adapters/llama-untied/lora/adapter_config.json", as: "a/adapter_config.json")
    return scratch
  }

  @Test(arguments: factors) func `An adapter whose factors lie is refused`(_ hostile: Hostile) throws {
    let scratch = try adapterFolder()
    try scratch.write(hostile.bytes(), to: "a/adapter_model.safetensors")
    try scratch.expect(
      logits + ["--adapter", "a"], endsWith: [3], about: "a/adapter_model.safetensors", saying: hostile.says)
  }

  @Test(arguments: 0..<20)
  func `An adapter whose header is damaged is refused or read`(_ seed: Int) throws {
    let scratch = try adapterFolder()
    try scratch.write(
      damaged(Self.adapter.bytes, within: 0..<2000, seed: seed, pieces: textPieces), to: "a/adapter_model.safetensors")
    try scratch.expect(logits + ["--adapter", "a"], endsWith: [0, 3], about: "a/adapter_model.safetensors")
  }
}

/// A safetensors file in its parts.
struct SafetensorsParts: Sendable {
  let header: String
  let data: [UInt8]

  init(header: String, data: [UInt8]) { (self.header, self.data) = (header, data) }

  init(fixture: String) {
    self.init([UInt8](FileManager.default.contents(atPath: fixtures + "/" + fixture) ?? Data()))
  }

  init(_ bytes: [UInt8]) {
    let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    self.init(header: String(decoding: bytes[8..<8 + length], as: UTF8.self), data: Array(bytes[(8 + length)...]))
  }

  var bytes: [UInt8] { bytes(claiming: UInt64(header.utf8.count)) }

  /// The file with another length of the header in front.
  func bytes(claiming length: UInt64) -> [UInt8] {
    withUnsafeBytes(of: length.littleEndian) { Array($0) } + Array(header.utf8) + data
  }

  /// The header with one field of a tensor's description replaced.
  func header(replacing tensor: String, field: String) -> String {
    let name = field.prefix { $0 != ":" }
    guard let entry = header.range(of: "\"\(tensor)\":{"),
      let end = header.range(of: "}", range: entry.upperBound..<header.endIndex)?.lowerBound,
      let start = header.range(of: name + ":", range: entry.upperBound..<end)?.lowerBound
    else { return header }
    let isList = header[header.index(start, offsetBy: name.count + 1)] == "["
    let last = header.range(of: isList ? "]" : ",", range: start..<end)
    return header.replacingCharacters(in: start..<(isList ? last?.upperBound : last?.lowerBound ?? end)!, with: field)
  }

  /// The header with all of a tensor's description replaced.
  func header(replacing tensor: String, with fields: String) -> String {
    guard let entry = header.range(of: "\"\(tensor)\":{"),
      let end = header.range(of: "}", range: entry.upperBound..<header.endIndex)?.lowerBound
    else { return header }
    return header.replacingCharacters(in: entry.upperBound..<end, with: fields)
  }
}

import Autodiff
import Files
import Foundation
import Networks
import Recipes
import Testing
import Weights

/// Networks of images of the fixtures, packed and read back.
struct ImageQuantizeTests {
  private let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
  private let models = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/models").path

  private func packed(
    _ name: String, _ packing: String, _ change: (inout QuantizeSettings) -> Void = { _ in }
  ) throws -> QuantizationReport {
    var settings = QuantizeSettings()
    settings.packing = try Packing(parsing: packing)
    change(&settings)
    return try ImageQuantizeJob(settings).run(try ImageCheckpoint("\(models)/\(name)"), to: folder) { _ in }
  }

  private func weights(_ network: any ImageNetwork) -> [String: FrozenWeight] {
    var copy = network, weights: [String: FrozenWeight] = [:]
    copy.forEachConvolution { weights[$0] = $1.base.weight }
    copy.forEachLinear { weights[$0] = $1.base.weight }
    return weights
  }

  @Test(arguments: ["resnet", "vit-tiny", "mobilenet-tiny"], ["int8-g32", "int8-row", "q8_0", "bfp8-g32", "nf4"])
  func `The logits of a packed network move by no more than its layers did`(_ name: String, _ packing: String) throws {
    // Nothing but rows of 64 suits nf4, which the other two have none or too few of.
    if packing == "nf4" && name != "vit-tiny" { return }
    defer { Folder.remove(folder) }
    let report = try packed(name, packing)
    let reference = try Safetensors("\(models)/\(name)/reference.safetensors"),
      entry = try reference.entry("pixel_values")
    let images = Tensor(try entry.floats(), shape: Shape(entry.shape))
    let before = try ImageCheckpoint("\(models)/\(name)").network().logits(ofImages: images).values
    let after = try ImageCheckpoint(folder).network().logits(ofImages: images).values
    func size(_ values: [Float]) -> Double { values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() }
    // ε = ‖Ŵ − W‖ / ‖W‖ of a layer is what its output moves by, of its size, where the errors are no likelier along one
    // input than along another. Norms and residual sums keep that share or make it less, so that to first order the
    // logits move by Σ ε at most: all errors one way, where independent ones come to the root of Σ ε².
    let bound = report.layers.reduce(0) { $0 + $1.weightError }
    let moved = size(zip(before, after).map { $0 - $1 }) / size(before)
    #expect(moved > 0 && moved < bound, "\(moved) of \(bound)")
    #expect(report.layers.allSatisfy { $0.weightError > 0 && $0.outputError == nil && $0.bytes < $0.bytesBefore })
  }

  @Test(arguments: ["resnet", "vit-tiny", "mobilenet-tiny", "dinov2-tiny", "clip-tiny"], ["int8-g32", "q8_0"])
  func `What is packed unpacks to the nearest values, and everything else keeps its bytes`(
    _ name: String, _ packing: String
  ) throws {
    defer { Folder.remove(folder) }
    // The last two have rows of 24, 48 and 147 numbers, and nothing to pack.
    if ["dinov2-tiny", "clip-tiny"].contains(name) {
      #expect(throws: (any Error).self) { try packed(name, packing) }
      #expect(!Folder.exists(folder))
      return
    }
    let report = try packed(name, packing)
    let original = weights(try ImageCheckpoint("\(models)/\(name)").network())
    let now = weights(try ImageCheckpoint(folder).network())
    let names = Set(report.layers.map(\.name))
    // Codes reach from −127 to 127. As llama.cpp does it, q8_0 divides by the step and stores it in half precision, 2⁻¹¹ of
    // itself away, which the largest code multiplies.
    let slack: Float = packing == "q8_0" ? 0.5 + 127 * 0x1p-11 : 0.5 + 0x1p-10
    #expect(
      names.union(report.kept.map(\.name)) == Set(original.keys) && names.isDisjoint(with: report.kept.map(\.name)))
    for (layer, weight) in original {
      let (values, found) = (weight.unpacked().values, try #require(now[layer]).unpacked().values)
      guard names.contains(layer) else {
        #expect(values == found && now[layer]?.packing == .float32, "\(layer)")
        continue
      }
      #expect(now[layer]?.packing == (try Packing(parsing: packing)))
      for start in stride(from: 0, to: values.count, by: 32) {
        let group = values[start..<start + 32]
        let step = (group.map(abs).max() ?? 0) / 127
        #expect(zip(group, found[start..<start + 32]).allSatisfy { abs($0 - $1) <= step * slack }, "\(layer)")
      }
    }
    let (source, target) = (
      try Safetensors("\(models)/\(name)/model.safetensors"), try Safetensors(folder + "/model.safetensors")
    )
    #expect(Set(source.names) == Set(target.names))
    var same = 0
    for name in source.names {
      let (a, b) = (try source.entry(name), try target.entry(name))
      guard b.type != .u8 else { continue }
      #expect(a.type == b.type && a.shape == b.shape && a.bytes.elementsEqual(b.bytes), "\(name)")
      same += 1
    }
    #expect(same == source.names.count - names.count)
  }

  @Test func `Ranges searched for lose less, and 4 bits more than 8`() throws {
    defer { Folder.remove(folder) }
    func most(_ packing: String, _ clip: Bool) throws -> Double {
      try packed("vit-tiny", packing) { if clip { $0.clip = .weights } }.layers.map(\.weightError).max() ?? 0
    }
    let (eight, four, searched) = (try most("int8-g32", false), try most("int4-g32", false), try most("int4-g32", true))
    #expect(eight < four / 8 && searched < four)
  }

  @Test func `A layer that a packing does not take is left with the reason, and so is the head`() throws {
    defer { Folder.remove(folder) }
    let report = try packed("mobilenet-tiny", "int8-g32")
    // Its one row of 32.
    #expect(report.layers.map(\.name) == ["blocks.1.project.convolution"])
    let reasons = Dictionary(uniqueKeysWithValues: report.kept.map { ($0.name, $0.reason) })
    #expect(reasons.count == 10)
    #expect(reasons["blocks.1.depthwise.convolution"] == "a row has 9 columns, and 32 share a scale")
    #expect(reasons["stem.convolution"] == "a row has 27 columns, and 32 share a scale")
    #expect(reasons["classifier"] == "it is the output layer")
    #expect(report.text.contains("left as it was 10 layers"))
    #expect(report.json["left"]?.array?.count == 10 && report.json["layers"]?.array?.count == 1)
    let table = try String(contentsOfFile: folder + "/quantization.csv", encoding: .utf8)
    #expect(table.contains("stem.convolution,F32,864,864,0,,\"a row has 27 columns, and 32 share a scale\"\n"))
    #expect(table.split(separator: "\n").count == 12)
  }

  @Test func `A packed network is packed again where that is asked for, and other layers stay as they are`() throws {
    let again = folder + "-again"
    defer {
      Folder.remove(folder)
      Folder.remove(again)
    }
    _ = try packed("vit-tiny", "int8-g32")
    var settings = QuantizeSettings()
    (settings.packing, settings.skip) = (.int4(group: 32), ["mlp.fc1"])
    let packed = try ImageCheckpoint(folder)
    let error = #expect(throws: (any Error).self) { try ImageQuantizeJob(settings).run(packed, to: again) { _ in } }
    #expect("\(try #require(error))".contains("is packed already") && !Folder.exists(again))
    settings.requantizes = true
    let report = try ImageQuantizeJob(settings).run(packed, to: again) { _ in }
    let (before, now) = (weights(try packed.network()), weights(try ImageCheckpoint(again).network()))
    for (name, weight) in now {
      let expected: Packing =
        name == "classifier" ? .float32 : name.hasSuffix("fc1") ? .int8(group: 32) : .int4(group: 32)
      #expect(weight.packing == expected, "\(name)")
      if expected != .int4(group: 32) { #expect(weight.unpacked() == before[name]?.unpacked()) }
    }
    #expect(report.kept.filter { $0.packing == "int8-g32" && $0.reason == "it is to be skipped" }.count == 4)
  }

  @Test func `Packed filters become plain ones of their shape again`() throws {
    let plain = folder + "-plain"
    defer {
      Folder.remove(folder)
      Folder.remove(plain)
    }
    _ = try packed("resnet", "int8-g32")
    var settings = QuantizeSettings()
    (settings.packing, settings.requantizes) = (.float16, true)
    _ = try ImageQuantizeJob(settings).run(try ImageCheckpoint(folder), to: plain) { _ in }
    #expect(try JSON.read(plain + "/config.json")["quantization_config"] == nil)
    let name = "resnet.encoder.stages.1.layers.1.layer.0.convolution.weight"
    let entry = try Safetensors(plain + "/model.safetensors").entry(name)
    #expect(entry.type == .f16 && entry.shape == [32, 32, 3, 3])
    #expect(weights(try ImageCheckpoint(plain).network()).values.filter { $0.packing == .float16 }.count == 8)
  }
}

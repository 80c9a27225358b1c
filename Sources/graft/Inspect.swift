import Adapters
import ArgumentParser
import Files
import Networks
import Recipes

/// Shows what is in a model, an adapter or a file of tensors.
struct Inspect: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what is in a model, an adapter folder, or a file of tensors.",
    discussion: """
      EXAMPLES
        graft inspect smollm2 --linears
        graft inspect runs/trivia/adapter
        graft inspect runs/efficientnet-lite0 --linears
        graft inspect efficientnet-lite0.pth

      Files of tensors are GGUF, safetensors, PyTorch checkpoints (.pth, .pt, .bin), Keras and other HDF5 files (.h5), and
      ONNX models (.onnx). Nothing that such a file names is imported or run.
      """)

  @Argument(help: "A model, an adapter folder or a file.") var path: String
  @Flag(help: "List the layers that target_modules can name: linear ones, and convolutions.") var linears = false
  @Flag(help: "List every tensor.") var tensors = false

  func run() throws {
    let path = try KnownModel.resolve(path)
    if Folder.exists(path + "/adapter_config.json") { return try showAdapter(path) }
    if path.hasSuffix(".safetensors") { return try show(try Safetensors(path), lists: tensors) }
    try HDF5Trial.check(path)
    if let file = try ArrayFile.openForeign(path) { return try show(file, lists: true) }
    if Folder.exists(path + "/config.json"), case let images = try ImageCheckpoint(path), images.isKnown {
      return try show(images)
    }
    let checkpoint = try Checkpoint(path)
    if case .gguf(let file) = checkpoint.form {
      Console.result("\(path): GGUF, \(file.names.count) tensors, \(file.keys.count) metadata keys")
      for key in file.keys where file.metadata[key]?.array == nil {
        let text = file.metadata[key].map(Self.text) ?? ""
        Console.result("  \(key) = \(text.count > 100 ? text.prefix(100) + "…" : Substring(text))")
      }
      if tensors {
        for name in file.names {
          if let tensor = file[name] { Console.result("  \(name)  \(tensor.type.name)  \(tensor.shape)") }
        }
      }
      if file.metadata["general.type"]?.string == "adapter" { return }
    }
    let model = try LoadedModel(path)
    Console.result(
      "architecture \(checkpoint.architecture)   \(grouped(model.parameterCount)) weights   context \(model.network.contextLength)"
    )
    showLayers(of: model.network, digest: try Fingerprint.model(checkpoint))
  }

  private func show(_ checkpoint: ImageCheckpoint) throws {
    let network = try checkpoint.network(), input = network.input, file = checkpoint.path + "/model.safetensors"
    let classes = network.labels.isEmpty ? "no head" : "\(network.labels.count) classes"
    Console.result(
      "architecture \(checkpoint.architecture)   \(grouped(network.weightCount())) weights   images of \(input.channels) × \(input.height) × \(input.width)   \(classes)"
    )
    showLayers(of: network, digest: Folder.exists(file) ? try Fingerprint.file(file) : nil)
    if tensors, Folder.exists(file) { try show(try Safetensors(file), lists: true) }
  }

  private func showLayers(of network: some AdaptableNetwork, digest: String?) {
    for packing in network.packings {
      Console.result("  \(packing.name): \(packing.matrices) matrices, \(megabytes(packing.bytes))")
    }
    if let digest { Console.result("sha256 \(digest)") }
    guard linears else { return }
    var network = network
    network.forEachConvolution { name, layer in
      let base = layer.base
      Console.result(
        "  \(name)  [\(base.outputs), \(base.weight.columns / (base.kernelHeight * base.kernelWidth)), \(base.kernelHeight), \(base.kernelWidth)]  \(base.weight.packing.name)"
      )
    }
    network.forEachLinear { name, layer in
      Console.result("  \(name)  [\(layer.base.outputs), \(layer.base.inputs)]  \(layer.base.weight.packing.name)")
    }
  }

  private static func text(_ value: GGUFValue) -> String {
    if let text = value.string { return text }
    if let number = value.int { return String(number) }
    if let number = value.double { return number.description }
    return value.bool.map { $0 ? "true" : "false" } ?? ""
  }

  private func showAdapter(_ path: String) throws {
    let file = path + "/adapter_config.json"
    let plan = try PEFTConfiguration(json: try JSON.read(file), path: file).plan
    Console.result(
      "\(path): adapter of type \(plan.method), rank \(plan.settings.rank), scale \(number(Double(plan.settings.scale(at: ""))))"
    )
    if !plan.settings.tasks.isEmpty { Console.result("tasks: \(plan.settings.tasks.joined(separator: ", "))") }
    if let binding = try AdapterBinding.read(path) {
      Console.result(
        "trained on \(binding.base) (sha256 \(binding.digest))\(binding.packing.map { " packed as \($0)" } ?? "")")
    } else {
      Console.result("made by another tool: its base is not recorded")
    }
    try show(try Safetensors(path + "/adapter_model.safetensors"), lists: tensors)
  }

  private func show(_ file: any NamedArrays, lists: Bool) throws {
    Console.result("\(file.path): \(file.names.count) tensors\(file.note.map { ", " + $0 } ?? "")")
    var broken = 0
    for name in file.names {
      let entry = try file.entry(name)
      let isFloat = [.f64, .f32, .f16, .bf16].contains(entry.type)
      let values = isFloat ? try entry.floats() : []
      let finite = values.allSatisfy(\.isFinite)
      if !finite { broken += 1 }
      if lists || !finite {
        let norm = values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
        let size = isFloat ? "  norm \(number(norm))" : ""
        Console.result("  \(name)  \(entry.type.rawValue)  \(entry.shape)\(size)\(finite ? "" : "  NOT FINITE")")
      }
    }
    if broken > 0 { throw FileError(file.path, "\(broken) tensors hold numbers that are not finite") }
  }
}

import ArgumentParser
import Files
import Recipes

/// Writes the arrays of another program's file as safetensors.
struct Import: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the arrays of a PyTorch, Keras or ONNX file as safetensors.",
    discussion: """
      Reads PyTorch checkpoints (.pth, .pt, .bin), Keras and other HDF5 files (.h5), and ONNX models (.onnx). Nothing that
      such a file names is imported or run. Arrays keep their type, shape and order of axes, and the state of a Keras
      optimiser is left out.

      --names says what arrays of an ONNX model are called: 'stored' as in the file; 'modules' as in the PyTorch module
      that was exported, whose linear layers' matrices become [outputs, inputs] again; 'dinov2' and 'bert' as in
      transformers' models of these kinds, without what else the file holds.

      --network says that the file holds a network of images under a package's own names: 'efficientnet-lite',
      'mobilenet_v2', 'cifar-cnn' or 'dinov2' (of ONNX). OUTPUT is then a folder that Graft reads as a network; --trunk keeps
      the first so many convolutions of a cifar-cnn.

      EXAMPLES
        graft import cifar-cnn networks/trunk --network cifar-cnn --trunk 4
        graft import efficientnet-lite0 efficientnet-lite0.safetensors
        graft import dinov2-small dinov2/model.safetensors --names dinov2
      """)

  @Argument(help: "The file, or a name that 'graft ls' lists.") var file: String
  @Argument(help: "The .safetensors file to write, or the folder.") var output: String
  @Option(help: "efficientnet-lite, mobilenet_v2, cifar-cnn or dinov2.") var network: String?
  @Option(help: "Convolutions of a cifar-cnn to keep.") var trunk: Int?
  @Option(help: "stored, modules, dinov2 or bert.") var names = "stored"
  @Flag(help: "Replace a file that is there already.") var overwrite = false

  func run() throws {
    if let network { return try importNetwork(network) }
    guard trunk == nil else { throw UsageError(description: "--trunk belongs to --network cifar-cnn") }
    guard output.hasSuffix(".safetensors") else {
      throw UsageError(description: "\(output): the name of the file to write must end in .safetensors")
    }
    guard overwrite || !Folder.exists(output) else {
      throw UsageError(description: "\(output) is there already; give --overwrite to replace it")
    }
    let file = try open(), arrays = try named(file)
    // What readers of PyTorch's arrays ask for; Keras has another order of axes.
    let isTorch = !(file is KerasWeights)
    try arrays.writeSafetensors(to: output, metadata: isTorch ? ["format": "pt"] : [:])
    Console.result("\(file.path): \(arrays.names.count) tensors\(file.note.map { ", " + $0 } ?? "")\nwrote \(output)")
  }

  private func importNetwork(_ name: String) throws {
    guard let kind = PublishedNetwork.Kind(rawValue: name) else {
      throw UsageError(description: "--network \(name): expected efficientnet-lite, mobilenet_v2, cifar-cnn or dinov2")
    }
    guard trunk == nil || kind == .plainCNN else {
      throw UsageError(description: "--trunk belongs to --network cifar-cnn")
    }
    guard overwrite || !Folder.exists(output) else {
      throw UsageError(description: "\(output) is there already; give --overwrite to replace it")
    }
    let arrays = try open()
    try PublishedNetwork(kind, trunk: trunk).write(arrays, to: output)
    Console.result("\(arrays.path): \(kind.rawValue)\nwrote \(output)")
  }

  private func open() throws -> any NamedArrays {
    let path = try KnownModel.resolve(file)
    try HDF5Trial.check(path)
    return try ArrayFile.open(path)
  }

  private func named(_ file: any NamedArrays) throws -> any NamedArrays {
    guard ["stored", "modules", "dinov2", "bert"].contains(names) else {
      throw UsageError(description: "--names \(names): expected stored, modules, dinov2 or bert")
    }
    if names == "stored" { return file }
    guard let model = file as? ONNXModel else {
      throw UsageError(description: "--names \(names) is for ONNX models; \(file.path) already names its arrays")
    }
    switch names {
    case "dinov2": return try ONNXModules.dinov2(model)
    case "bert": return try ONNXModules.bert(model)
    default: return try ONNXModules(model)
    }
  }
}

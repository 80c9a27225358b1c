import Files
import Foundation
import Networks
import Quantizing
import Weights

/// Packing a model block by block and writing it, with a table of what each layer lost.
public struct QuantizeJob: Sendable {
  /// What is to be done.
  public let plan: QuantizationPlan
  /// What layers are measured on; nil to measure nothing.
  public let calibration: CalibrationText?

  /// A job of that plan.
  public init(_ plan: QuantizationPlan, calibration: CalibrationText?) {
    (self.plan, self.calibration) = (plan, calibration)
  }

  /// Packs `model` and writes a GGUF file if `path` ends in `.gguf`, else a Hugging Face folder in Graft's own form with
  /// the table, as `quantization.csv`, `.json` and `.svg`, beside it.
  ///
  /// Finished blocks are kept in `path.work` until the model is written: the same job goes on there.
  ///
  /// - Throws: a ``QuantizationError`` for a plan that cannot be carried out, a ``FileError`` for what cannot be read or
  ///   written.
  public func run(_ model: LoadedModel, to path: String, progress: (String) -> Void) throws -> QuantizationReport {
    try plan.check()
    try plan.check(isCalibrated: calibration != nil)
    try plan.check(model.network)
    if path.hasSuffix(".gguf") { try checkGGUF(model, path) }
    let started = Date(), sequences = try calibration?.read(for: model) ?? []
    let scratch = path + ".work"
    try open(scratch, model, sequences)
    var layers: [LayerReport] = []
    let count = model.network.blockCount
    let packed = try ModelQuantizer(plan).pack(model.network, on: sequences, scratch: scratch) { block, found, isNew in
      layers += found
      progress(Self.line(block, count, found, isNew, seconds: Date().timeIntervalSince(started)))
    }
    if path.hasSuffix(".gguf") {
      try GGUFExport.write(packed, of: model, type: nil, to: path)
    } else {
      try ModelFolderExport.write(packed, of: model, to: path, as: .packed)
    }
    let report = QuantizationReport(
      path: path, layers: layers, seconds: Date().timeIntervalSince(started), peakBytes: ProcessMemory.peak)
    try report.write(beside: path)
    Folder.remove(scratch)
    return report
  }

  private static func line(
    _ block: Int, _ count: Int, _ layers: [LayerReport], _ isNew: Bool, seconds: Double
  ) -> String {
    let errors = layers.compactMap(\.outputError), weights = layers.map(\.weightError)
    func mean(_ values: [Double]) -> String {
      percent(values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count))
    }
    let outputs = errors.isEmpty ? "" : "  of outputs \(mean(errors))"
    let time =
      isNew ? "  left \(duration(seconds / Double(block + 1) * Double(count - block - 1)))" : "  found finished"
    return "block \(block + 1)/\(count)  lost of weights \(mean(weights))\(outputs)\(time)"
  }

  /// Refuses what would fail after the work.
  private func checkGGUF(_ model: LoadedModel, _ path: String) throws {
    guard plan.packing.gguf != nil else {
      throw QuantizationError(
        "packing \(plan.packing.name) has no GGUF type", remedy: "choose one, such as q4_K, or write a folder")
    }
    guard model.network is Llama else {
      throw FileError(path, "a GGUF file is written of models of the Llama family", remedy: "write a folder")
    }
  }

  /// Makes the scratch folder, or goes on in the one that the same job left.
  private func open(_ scratch: String, _ model: LoadedModel, _ sequences: [[Int32]]) throws {
    let job = Fingerprint.text("\(plan) \(try Fingerprint.model(model.checkpoint)) \(sequences)")
    try FolderMark.keep(
      job, in: scratch, as: "job.txt", problem: "holds the unfinished work of another model, plan or text",
      remedy: "remove it to begin anew, or choose another output")
  }
}

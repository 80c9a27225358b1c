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
  /// - Throws: an ``OutputError`` where the result may not be written, a ``QuantizationError`` for a plan that cannot be
  ///   carried out, a ``FileError`` for what cannot be read or written.
  public func run(_ model: LoadedModel, to path: String, progress: (String) -> Void) throws -> QuantizationReport {
    let output = try ModelOutput(path, of: model)
    try plan.check()
    try plan.check(isCalibrated: calibration != nil)
    try plan.checkSkips(of: model.network)
    try plan.check(model.network)
    if output.isFile { try checkGGUF(model, output.path) }
    let started = Date(), sequences = try calibration?.read(for: model) ?? []
    try model.requireFiniteWeights()
    if let calibration { progress(calibration.line(sequences.count)) }
    let job = Fingerprint.text("\(plan) \(try Fingerprint.model(model.checkpoint)) \(sequences)")
    let work = try WorkFolder(output.path + ".work", job: job)
    Interruption.leave("finished blocks are kept in \(work.path), and the same command goes on there")
    var layers: [LayerReport] = []
    let count = model.network.blockCount
    let packed = try undamaged(work) {
      do {
        return try ModelQuantizer(plan).pack(model.network, on: sequences, scratch: work.path) { block, found, isNew in
          layers += found
          progress(Self.line(block, count, found, isNew, seconds: Date().timeIntervalSince(started)))
        }
      } catch { throw Self.explained(error, model) }
    }
    let report = QuantizationReport(
      path: output.path, layers: layers, seconds: Date().timeIntervalSince(started), peakBytes: ProcessMemory.peak)
    if output.isFile {
      try GGUFExport.write(packed, of: model, type: nil, to: output.path)
      try report.write(as: output.path + ".quantization")
    } else {
      try ModelFolderExport.write(packed, of: model, to: output.path, as: .packed) {
        try report.write(as: $0 + "/quantization")
      }
    }
    work.remove()
    return report
  }

  /// What `body` returns; what it finds damaged in the work folder is told with the way out.
  private func undamaged<Result>(_ work: WorkFolder, _ body: () throws -> Result) throws -> Result {
    do { return try body() } catch var error as FileError
      where error.path.hasPrefix(work.path + "/") && !error.isOutput
    {
      error.remedy = "remove \(work.path) to begin anew"
      throw error
    }
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
    if let packing = plan.embedding, packing.gguf == nil {
      throw QuantizationError(
        "packing \(packing.name) of the embedding has no GGUF type",
        remedy: "choose one with --embedding, such as q8_0, or write a folder")
    }
    guard model.network is Llama else {
      throw FileError(path, "a GGUF file is written of models of the Llama family", remedy: "write a folder")
    }
  }
}

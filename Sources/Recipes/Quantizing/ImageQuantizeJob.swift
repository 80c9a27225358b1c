import Files
import Foundation
import Networks
import Quantizing
import Weights

/// Packing a network of images and writing it, with a table of what each layer lost and of what was left as it was.
public struct ImageQuantizeJob: Sendable {
  private let quantizer: ImageQuantizer

  /// The job that `settings` ask for.
  ///
  /// - Throws: a ``QuantizationError`` when no packing was named, or for what a network of images cannot do with: a method
  ///   that measures, and a text to measure on.
  public init(_ settings: QuantizeSettings) throws {
    quantizer = try ImageQuantizer(try settings.plan())
    let useless: [(Bool, String)] = [
      (settings.calibration != nil, "calibration text"), (settings.sequences != nil, "number of sequences"),
      (settings.length != nil, "length of sequences"), (settings.activationBits != nil, "number of activation bits"),
    ]
    if let (_, name) = useless.first(where: \.0) {
      throw QuantizationError(
        "a \(name) was given, and a network of images is packed by rounding alone", remedy: "leave it out")
    }
  }

  /// Packs the network of `checkpoint` and writes it to the folder `path` in Graft's own form, with the table, as
  /// `quantization.csv`, `.json` and `.svg`, beside it.
  ///
  /// - Throws: as ``ImageQuantizer/pack(_:report:)``; an ``OutputError`` where the result may not be written; a ``FileError``
  ///   for what cannot be read or written. Then an old network of that name has not changed, and a new folder is not there.
  public func run(
    _ checkpoint: ImageCheckpoint, to path: String, progress: (String) -> Void
  ) throws -> QuantizationReport {
    guard !path.hasSuffix(".gguf") else {
      throw FileError(path, "a GGUF file is written of models of the Llama family", remedy: "write a folder")
    }
    let started = Date(), export = try ImageFolderExport(of: checkpoint, to: path)
    var stored = try checkpoint.stored()
    try Self.requireFinite(stored)
    var layers: [LayerReport] = [], stage: (number: Int, first: Int)?
    let names = stored.network.stageNames
    func tell() {
      guard let stage else { return }
      let errors = layers[stage.first...].map(\.weightError)
      progress(
        "stage \(stage.number + 1)/\(names.count)  \(names[stage.number])  lost of weights \(percent(errors.reduce(0, +) / Double(max(1, errors.count))))"
      )
    }
    let packed = try quantizer.pack(stored) { layer, number in
      if stage?.number != number {
        tell()
        stage = (number, layers.count)
      }
      layers.append(layer)
    }
    tell()
    stored.network = packed.network
    var report = QuantizationReport(
      path: path, layers: layers, seconds: Date().timeIntervalSince(started), peakBytes: ProcessMemory.peak)
    report.kept = packed.kept
    try export.write(stored) { temporary, bytes in
      report.fileBytes = bytes
      try report.write(as: temporary + "/quantization")
    }
    return report
  }

  /// Refuses numbers that no computation gets over, by the tensor that holds them.
  private static func requireFinite(_ stored: StoredImageNetwork) throws {
    for name in stored.file.names where stored.used.contains(name) {
      guard let entry = stored.file[name], [.f64, .f32, .f16, .bf16].contains(entry.type) else { continue }
      let values = try entry.floats()
      entry.file.forget(entry.bytes)
      if let index = values.firstIndex(where: { !$0.isFinite }) {
        throw FileError(
          entry.path, at: "tensor '\(name)'", "number \(index) of \(values.count) is \(values[index])",
          remedy: "only finite values can be packed; take the network from where it came from again")
      }
    }
  }
}

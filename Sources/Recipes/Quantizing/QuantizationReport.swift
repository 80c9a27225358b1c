import Files
import Quantizing

/// What a model has become by packing it.
public struct QuantizationReport: Sendable {
  /// The file or folder.
  public let path: String
  /// Every packed layer, in the order of the model.
  public let layers: [LayerReport]
  /// How long it took, and the most memory it held.
  public let seconds: Double, peakBytes: Int
  /// Of a network of images, what was left as it was.
  public var kept: [KeptLayer] = []
  /// Of a network of images, the bytes of its weights' files before and now.
  public var fileBytes: (before: Int, now: Int)?

  /// Bytes of the packed layers, before and now.
  public var bytes: (before: Int, now: Int) {
    (layers.reduce(0) { $0 + $1.bytesBefore }, layers.reduce(0) { $0 + $1.bytes })
  }

  /// The report as lines of text.
  public var text: String {
    let errors = layers.compactMap(\.outputError).sorted(), weights = layers.map(\.weightError).sorted()
    func middle(_ values: [Double]) -> String { percent(values.isEmpty ? 0 : values[values.count / 2]) }
    var lines = [
      "packed \(layers.count) layers: \(megabytes(bytes.before)) → \(megabytes(bytes.now)) in \(duration(seconds)), peak memory \(megabytes(peakBytes))",
      "  weights lost   median \(middle(weights))   most \(percent(weights.last ?? 0))",
    ]
    if !errors.isEmpty {
      lines.append(
        "  outputs lost   median \(middle(errors))   most \(percent(errors.last ?? 0)), on the calibration text")
      for layer in layers.filter({ $0.outputError != nil }).sorted(by: { $0.outputError ?? 0 > $1.outputError ?? 0 })
        .prefix(3)
      {
        lines.append("    \(layer.name)   \(percent(layer.outputError ?? 0))   \(layer.packing)")
      }
    }
    if let fileBytes {
      lines.append("  files          \(megabytes(fileBytes.before)) → \(megabytes(fileBytes.now))")
    }
    lines += keptLines
    let table = path.hasSuffix(".gguf") ? "\(path).quantization" : "\(path)/quantization"
    return (lines + ["wrote \(path)", "      \(table).csv, .json, .svg"]).joined(separator: "\n")
  }

  /// What was left as it was, a line for each reason.
  private var keptLines: [String] {
    func count(_ layers: [KeptLayer]) -> String { layers.count == 1 ? "1 layer" : "\(layers.count) layers" }
    guard !kept.isEmpty else { return [] }
    let reasons = kept.map(\.reason).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
    let bytes = kept.reduce(0) { $0 + $1.bytes }
    return ["  left as it was \(count(kept)), \(megabytes(bytes))"]
      + reasons.map { reason in
        let layers = kept.filter { $0.reason == reason }
        let packings = Set(layers.map(\.packing)).sorted().joined(separator: ", ")
        let more = layers.count == 1 ? "" : ", …"
        return "    \(count(layers)) in \(packings): \(reason) (\(layers[0].name)\(more))"
      }
  }

  /// The report as JSON, one object.
  public var json: JSON {
    var object: [String: JSON] = [
      "path": .string(path), "seconds": .number(seconds), "peak_bytes": .integer(peakBytes),
      "bytes_before": .integer(bytes.before), "bytes": .integer(bytes.now),
      "layers": .array(
        layers.map {
          .object([
            "name": .string($0.name), "packing": .string($0.packing), "bytes_before": .integer($0.bytesBefore),
            "bytes": .integer($0.bytes), "weight_error": .number($0.weightError),
            "output_error": $0.outputError.map { .number($0) } ?? .null,
          ])
        }),
    ]
    if let fileBytes {
      object["file_bytes_before"] = .integer(fileBytes.before)
      object["file_bytes"] = .integer(fileBytes.now)
      object["left"] = .array(
        kept.map {
          .object([
            "name": .string($0.name), "packing": .string($0.packing), "bytes": .integer($0.bytes),
            "reason": .string($0.reason),
          ])
        })
    }
    return .object(object)
  }

  private var csv: String {
    var rows = layers.map {
      "\($0.name),\($0.packing),\($0.bytesBefore),\($0.bytes),\($0.weightError),\($0.outputError.map { "\($0)" } ?? "")"
    }
    var header = "layer,packing,bytes_before,bytes,weight_error,output_error"
    if fileBytes != nil {
      header += ",left_because"
      rows = rows.map { $0 + "," }
      // Reasons have commas, and no quotation marks.
      rows += kept.map { "\($0.name),\($0.packing),\($0.bytes),\($0.bytes),0,,\"\($0.reason)\"" }
    }
    return ([header] + rows).joined(separator: "\n") + "\n"
  }

  /// Writes the table as `stem` with the endings of three forms.
  func write(as stem: String) throws {
    try AtomicFile.write(csv, to: stem + ".csv")
    try AtomicFile.write(json.text(pretty: true) + "\n", to: stem + ".json")
    try AtomicFile.write(QuantizationPlot(layers: layers).svg, to: stem + ".svg")
  }
}

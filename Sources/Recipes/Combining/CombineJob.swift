import Adapters
import Files
import Networks

/// Combining adapter folders into one, without their base.
public struct CombineJob: Sendable {
  /// How they are combined.
  public var combination: Combination
  /// Whether adapters of different bases are accepted.
  public var anyBase = false
  /// Whether an adapter that is at the output already may be replaced.
  public var overwrites = false

  /// A job that refuses different bases and replaces nothing.
  public init(_ combination: Combination) { self.combination = combination }

  /// Reads `adapters`, combines them with their weights and writes the result, whole or not at all.
  ///
  /// - Throws: a ``FileError`` when one is no plain LoRA or belongs to another base than those before it, or the output
  ///   cannot be written; a ``GraftError`` for settings that contradict each other.
  public func write(_ adapters: [(folder: String, weight: Double)], to output: String) throws -> CombinationReport {
    try combination.check()
    let output = try AdapterOutput.checked(output, overwrites: overwrites)
    let binding = try commonBinding(adapters.map(\.folder))
    let read = try adapters.map { (adapter: try LoRAFolder($0.folder), weight: $0.weight) }
    let (combined, report) = try combination.combined(read)
    try AdapterOutput.write(binding, to: output, combined.write)
    return report
  }

  /// The base all of them were trained on; nil when none says.
  private func commonBinding(_ folders: [String]) throws -> AdapterBinding? {
    var common: AdapterBinding?
    for folder in folders {
      guard let own = try AdapterBinding.read(folder) else { continue }
      guard var first = common else {
        common = own
        continue
      }
      func name(_ binding: AdapterBinding) -> String {
        "\(binding.base) (sha256 \(binding.digest.prefix(12))…\(binding.packing.map { ", packed as \($0)" } ?? ""))"
      }
      guard
        anyBase || (own.digest == first.digest && own.packing == first.packing && own.unpacked == first.unpacked)
      else {
        throw FileError(
          folder, "was trained on \(name(own)), the adapters before it on \(name(first))",
          remedy: "combine adapters of one base, or give --any-base if you know that they agree")
      }
      if own.template != first.template { first.template = nil }
      common = first
    }
    return common
  }
}

/// An adapter folder about to be written.
enum AdapterOutput {
  /// The path without slashes behind it.
  ///
  /// - Throws: a ``FileError`` when something is there that may not be replaced.
  static func checked(_ path: String, overwrites: Bool) throws -> String {
    var name = path
    while name.hasSuffix("/") { name.removeLast() }
    guard !name.isEmpty else { throw FileError(path, "is no name for an adapter's folder") }
    guard Folder.exists(name) else { return name }
    guard Folder.isFolder(name), Folder.names(in: name).isEmpty || Folder.exists(name + "/adapter_config.json") else {
      throw FileError(path, "is there already, and no adapter", remedy: "choose another output")
    }
    guard overwrites || Folder.names(in: name).isEmpty else {
      throw FileError(path, "is there already", remedy: "choose another output, or give --overwrite")
    }
    return name
  }

  /// Writes the three files of an adapter, or none; `adapter` writes those that PEFT reads.
  static func write(_ binding: AdapterBinding?, to path: String, _ adapter: (_ folder: String) throws -> Void) throws {
    try Folder.replace(path) { temporary in
      try adapter(temporary)
      try binding?.write(to: temporary)
    }
  }
}

extension CombinationReport {
  /// A line a layer, and one for all.
  public var text: String {
    let meaning = method == .linear ? "cross terms" : "residual energy"
    var lines = layers.map { layer in
      "  \(layer.name)  rank \(layer.rank)" + (layer.residual.map { "  \(meaning) \(number($0))" } ?? "")
    }
    let summary = "\(method.rawValue): \(layers.count) layers, "
    switch (method, residual) {
    case (.cat, _): lines.append(summary + "the weighted sum exactly")
    case (.linear, let share?):
      lines.append(
        summary + "cross terms Bᵢ Aⱼ of \(number(share)) of the weighted sum's energy beside it; cat has none")
    case (_, let share?): lines.append(summary + "residual energy \(number(share)), cut off by the rank")
    case (_, nil): lines.append(summary + "A and B each for itself; cross terms Bᵢ Aⱼ appear")
    }
    return lines.joined(separator: "\n")
  }
}

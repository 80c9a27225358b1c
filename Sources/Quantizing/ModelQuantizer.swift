import Adapters
import Autodiff
import Files
import Networks
import Weights

/// Packing a model block by block, each block calibrated on what the packed blocks before it put out.
///
/// In memory at once: the packed model, one block in float, its inputs' moments, and a few sequences of the stream. The
/// stream itself lies in an HDF5 file, and every finished block in a file of its own, so that a run that was ended goes
/// on where it was.
public struct ModelQuantizer: Sendable {
  /// What is to be done.
  public let plan: QuantizationPlan
  /// Sequences read at once.
  private static let tokensAtOnce = 2048

  /// A quantiser of that plan.
  public init(_ plan: QuantizationPlan) { self.plan = plan }

  /// `model`, packed. `sequences`, all of one length, are what is measured; none where the plan measures nothing.
  ///
  /// - Parameters:
  ///   - scratch: a folder for the stream and finished blocks; it is left for the caller to remove.
  ///   - report: called for each block with its layers, also for blocks that were found finished.
  public func pack(
    _ model: any TextNetwork, on sequences: [[Int32]], scratch: String,
    report: (_ block: Int, _ layers: [LayerReport], _ isNew: Bool) throws -> Void
  ) throws -> any TextNetwork {
    try plan.check()
    try plan.check(isCalibrated: !sequences.isEmpty)
    var model = model
    let store = BlockStore(folder: scratch)
    let length = sequences.first?.count ?? 0
    var stream =
      try sequences.isEmpty ? nil : BlockStream(model, sequences, folder: scratch, tokensAtOnce: Self.tokensAtOnce)
    for block in 0..<model.blockCount {
      let quantizer = BlockQuantizer(plan, block: block, of: model)
      if let layers = try store.restore(block, into: &model) {
        try report(block, layers, false)
        continue
      }
      var measured: [String: SiteStatistics] = [:]
      if let found = stream {
        // A run that was ended has the stream before this block, or can make it anew from the finished ones.
        let here = try found.before(block, model)
        stream = here
        var wanted = plan.statistics
        wanted.formUnion(.secondMoment)
        let rows = Calibration.sampledRows(of: sequences.count * length)
        measured = try Calibration.listen(model, wanted, of: quantizer.sites(model), keeping: { _ in rows }) {
          try here.read(through: block, $0)
        }
      }
      let layers = try quantizer.pack(&model, measured)
      try store.save(block, of: model, layers)
      if block + 1 < model.blockCount { stream = try stream?.advanced(through: block, model) }
      try report(block, layers, true)
    }
    if let packing = plan.embedding {
      try model.forEachEmbedding(throwing: { _, table in
        guard table.adapter == nil, !table.base.weight.packing.isRounded else { return }
        table.base.weight = try FrozenWeight(table.base.weight.unpacked(), packing: packing)
      })
    }
    return model
  }
}

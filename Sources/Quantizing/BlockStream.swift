import Autodiff
import Files
import Networks

/// The stream of states between blocks for all calibration sequences, in a file: `[sequences × length, width]`.
struct BlockStream {
  private let sequences: [[Int32]]
  private let folder: String
  private let atOnce: Int
  private let width: Int
  /// The block that the stream enters.
  private let block: Int

  /// The stream that enters the first block.
  init(_ model: any TextNetwork, _ sequences: [[Int32]], folder: String, tokensAtOnce: Int) throws {
    let length = sequences[0].count
    require(sequences.allSatisfy { $0.count == length }, "calibration sequences of more than one length")
    self.init(sequences, folder, max(1, tokensAtOnce / length), model.streamWidth, block: 0)
    guard !Folder.exists(path(0)) else { return }
    try write(0) { model.embedded($0, Context()) }
  }

  private init(_ sequences: [[Int32]], _ folder: String, _ atOnce: Int, _ width: Int, block: Int) {
    (self.sequences, self.folder, self.atOnce, self.width, self.block) = (sequences, folder, atOnce, width, block)
  }

  /// The stream that enters `block`, whose predecessors are packed in `model`.
  func before(_ block: Int, _ model: any TextNetwork) throws -> BlockStream {
    var here = self
    if block > self.block, Folder.exists(path(block)) {
      here = BlockStream(sequences, folder, atOnce, width, block: block)
    }
    while here.block < block { here = try here.advanced(through: here.block, model) }
    return here
  }

  /// Has `model` read the stream through `block`, a few sequences at a time.
  func read(through block: Int, _ model: any TextNetwork) throws {
    try forEachBatch { batch, states, _ in _ = model.hidden(states, through: block..<block + 1, of: batch, Context()) }
  }

  /// The stream behind `block`, which this one enters; this one's file goes.
  func advanced(through block: Int, _ model: any TextNetwork) throws -> BlockStream {
    let next = BlockStream(sequences, folder, atOnce, width, block: block + 1)
    let file = try HDF5Rows(creating: path(block + 1), count: rowCount, width: width)
    try forEachBatch { batch, states, rows in
      let behind = model.hidden(states, through: block..<block + 1, of: batch, Context())
      try behind.withValues { if let base = $0.baseAddress { try file.write(base, to: rows) } }
    }
    try file.finish()
    // The first is kept, so that every later one can be made anew.
    if block > 0 { Folder.remove(path(block)) }
    return next
  }

  private var rowCount: Int { sequences.count * sequences[0].count }
  private func path(_ block: Int) -> String { "\(folder)/stream-\(block).h5" }

  private func write(_ block: Int, _ states: (TokenBatch) -> Tensor) throws {
    let file = try HDF5Rows(creating: path(block), count: rowCount, width: width)
    let length = sequences[0].count
    for first in stride(from: 0, to: sequences.count, by: atOnce) {
      let batch = TokenBatch(Array(sequences[first..<min(sequences.count, first + atOnce)]))
      let start = first * length
      try states(batch).withValues { values in
        if let base = values.baseAddress { try file.write(base, to: start..<start + batch.ids.count) }
      }
    }
    try file.finish()
  }

  private func forEachBatch(_ body: (TokenBatch, Tensor, Range<Int>) throws -> Void) throws {
    let file = try HDF5Rows(reading: path(block), count: rowCount, width: width), length = sequences[0].count
    for first in stride(from: 0, to: sequences.count, by: atOnce) {
      let batch = TokenBatch(Array(sequences[first..<min(sequences.count, first + atOnce)]))
      let rows = first * length..<first * length + batch.ids.count
      var failure: (any Error)?
      let states = Tensor(shape: [rows.count, width]) { place in
        do { try file.read(rows, into: place) } catch { failure = error }
      }
      if let failure { throw failure }
      try body(batch, states, rows)
    }
  }
}

import Autodiff
import Synchronization

extension FrozenWeight {
  /// The first number that is not finite; nil where there is none.
  ///
  /// Rows are unpacked a few at a time, and pages of a file that were touched are let go of.
  package var firstNotFinite: (row: Int, column: Int, value: Float)? {
    let columns = columns, grain = max(1, (1 << 16) / columns)
    let first = Mutex<(row: Int, column: Int, value: Float)?>(nil)
    Parallel.forRanges(rows, grain: grain) { range in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: range.count * columns) { block in
        guard let place = block.baseAddress else { return }
        unpack(rows: range, into: place)
        var largest: UInt32 = 0
        for value in block { largest = max(largest, value.bitPattern & 0x7fff_ffff) }
        // Infinities and what is no number have the exponent that no finite number has.
        guard largest >= Float.infinity.bitPattern, let index = block.firstIndex(where: { !$0.isFinite }) else {
          return
        }
        let found = (row: range.lowerBound + index / columns, column: index % columns, value: block[index])
        first.withLock { if found.row < $0?.row ?? .max { $0 = found } }
      }
    }
    forgetPages()
    return first.withLock { $0 }
  }
}

import Autodiff
import Images
import Testing

@testable import Sequences

/// Which images come when.
struct TaskBatchesTests {
  private let images = StripedImages()

  @Test(arguments: [(count: 5, size: 3), (count: 8, size: 4), (count: 7, size: 40), (count: 6, size: 1)])
  func `Each pass has an order of its own, whichever batches were asked for before`(_ count: Int, _ size: Int) throws {
    let examples = try images.tasks()[0].train, key = RandomKey(seed: 11)
    let chosen = (0..<count).map { 31 - 3 * $0 }
    let batches = TaskBatches(
      examples, chosen: chosen, classes: 2..<4, from: .images(images.preparation), random: key)
    let perPass = (count + size - 1) / size
    for number in [0, 3] {
      // Three passes, as where a longer task is learned beside; then backwards.
      let steps = Array(0..<3 * perPass), epoch = batches.epoch(number, size: size)
      for order in [steps, steps.reversed()] {
        var epoch = epoch
        for step in order {
          let drawn = key["order"][number * 1_000_003 + step / perPass].permutation(count)
          let start = step % perPass * size, rows = drawn[start..<min(count, start + size)].map { chosen[$0] }
          let batch = try epoch.batch(step)
          #expect(batch.labels == rows.map { examples.labels[$0] + 2 })
          #expect(
            try batch.input == images.preparation.batch(of: examples.set, at: rows.map { examples.indices[$0] }))
        }
      }
    }
  }
}

import Autodiff
import Testing

struct ShapeTests {
  @Test(arguments: broadcastPairs.indices)
  func `Broadcasting repeats sizes of 1`(_ index: Int) {
    let (first, second) = broadcastPairs[index]
    let a = numbers(first), b = numbers(second, 1), result = a - b
    let rank = max(first.rank, second.rank)
    func padded(_ shape: Shape) -> [Int] { [Int](repeating: 1, count: rank - shape.rank) + shape.dimensions }
    let (p, q) = (padded(first), padded(second)), sizes = zip(p, q).map { max($0, $1) }
    #expect(result.shape.dimensions == sizes)
    /// The number of `tensor` under a multi-index of the result.
    func value(_ values: [Float], _ shape: [Int], _ position: [Int]) -> Float {
      values[zip(shape, position).reduce(0) { $0 * $1.0 + ($1.0 == 1 ? 0 : $1.1) }]
    }
    let (x, y) = (a.values, b.values)
    let expected = (0..<result.count).map { flat -> Float in
      var position: [Int] = [], rest = flat
      for size in sizes.reversed() {
        position.insert(rest % size, at: 0)
        rest /= size
      }
      return value(x, p, position) - value(y, q, position)
    }
    #expect(result.values == expected)
  }

  @Test func `Views begin where they should`() {
    let x = Tensor((0..<12).map(Float.init), shape: [4, 3])
    #expect(x.rows(1..<3).values == [3, 4, 5, 6, 7, 8])
    #expect((x.rows(1..<3) + 0).rows(1..<2).values == [6, 7, 8])
    #expect(x.rows(2..<4).transposed.values == [6, 9, 7, 10, 8, 11])
    #expect(x.columns(1..<2).values == [1, 4, 7, 10])
    #expect(x.gathered([3, 0]).values == [9, 10, 11, 0, 1, 2])
    #expect(Tensor([1, 3, 3, 0, -1, -2], shape: [2, 3]).rowArgmax == [1, 0])
  }
}

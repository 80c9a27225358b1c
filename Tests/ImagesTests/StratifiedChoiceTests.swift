import Autodiff
import Testing

@testable import Images

struct StratifiedChoiceTests {
  private let labels = (0..<100).map { $0 < 60 ? 0 : $0 < 90 ? 1 : 2 }

  @Test func `Every class keeps its share, and none is left out`() {
    #expect(StratifiedChoice.quotas([60, 30, 10], wanted: 10) == [6, 3, 1])
    #expect(StratifiedChoice.quotas([5, 5, 5], wanted: 10) == [4, 3, 3])
    #expect(StratifiedChoice.quotas([1000, 1, 1], wanted: 10) == [8, 1, 1])
    #expect(StratifiedChoice.quotas([3, 3], wanted: 100) == [3, 3])
    #expect(StratifiedChoice.quotas([3, 3], wanted: 1) == [1, 1])
    #expect(StratifiedChoice.quotas([0, 4], wanted: 2) == [0, 2])
    #expect(StratifiedChoice.quotas([1 << 40, 1 << 40], wanted: 1 << 40) == [1 << 39, 1 << 39])
  }

  @Test func `A choice without a key takes the first of each class, one with a key always the same`() {
    #expect(
      StratifiedChoice.choose(10, of: labels, classes: 3, from: nil) == [0, 1, 2, 3, 4, 5, 60, 61, 62, 90])
    let drawn = StratifiedChoice.choose(10, of: labels, classes: 3, from: RandomKey(seed: 1))
    #expect(drawn == StratifiedChoice.choose(10, of: labels, classes: 3, from: RandomKey(seed: 1)))
    #expect(drawn != StratifiedChoice.choose(10, of: labels, classes: 3, from: RandomKey(seed: 2)))
    #expect(drawn == drawn.sorted() && Set(drawn).count == 10)
  }

  @Test(arguments: [1, 30, 80])
  func `The parts of a split share nothing, and the second does not depend on the first`(_ first: Int) throws {
    let key = RandomKey(seed: 3)
    let split = try StratifiedChoice.split(first, 20, of: labels, classes: 3, from: key)
    #expect(Set(split.first).isDisjoint(with: split.second))
    #expect(split.first.count == max(3, first) && split.second.count == 20)
    #expect(try split.second == StratifiedChoice.split(3, 20, of: labels, classes: 3, from: key).second)
    #expect((0..<3).map { label in split.second.count { labels[$0] == label } } == [12, 6, 2])
  }

  @Test func `Without a number the first part has all that are left, but for what is left out`() throws {
    let key = RandomKey(seed: 3)
    let split = try StratifiedChoice.split(nil, 20, of: labels, classes: 3, from: key)
    #expect(split.first.count == 80)
    let less = try StratifiedChoice.split(nil, 20, of: labels, classes: 3, from: key) { chosen in
      #expect(chosen == split.second)
      return [split.first[0], split.first[9]]
    }
    #expect(less.second == split.second)
    #expect(less.first == split.first.filter { $0 != split.first[0] && $0 != split.first[9] })
  }
}

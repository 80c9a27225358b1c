import Testing

@testable import Recipes

struct AxisMarksTests {
  @Test func `Marks are round, written without needless digits, and within the range`() {
    #expect(axisMarks(75.8, 100).map(\.text) == ["80", "85", "90", "95", "100"])
    #expect(axisMarks(0.71, 0.93).map(\.text) == ["0.75", "0.80", "0.85", "0.90"])
    #expect(axisMarks(-1, 1.2).map(\.text) == ["-1.0", "-0.5", "0.0", "0.5", "1.0"])
    #expect(axisMarks(0, 3, least: 1).map(\.text) == ["0", "1", "2", "3"])
    #expect(axisMarks(0, 120, least: 1).map(\.text) == ["0", "20", "40", "60", "80", "100", "120"])
    #expect(axisMarks(1e14, 1e14 + 1e-6).isEmpty && axisMarks(2, 2).isEmpty)
  }

  @Test(arguments: [1e-9, 3e-4, 0.013, 0.7, 1, 2.2, 6.5, 48, 999, 1.3e7])
  func `A range of any size has a few marks, evenly spaced`(_ size: Double) {
    for low in [-2.3 * size, -0.4 * size, 0, 0.3 * size, 7 * size] {
      let high = low + size, marks = axisMarks(low, high)
      #expect((3...9).contains(marks.count), "\(low) to \(high): \(marks.map(\.text))")
      #expect(Set(marks.map(\.text)).count == marks.count)
      #expect(marks.allSatisfy { $0.value > low - 1e-6 * size && $0.value < high + 1e-6 * size })
    }
  }
}

import Testing
import Training

struct EvaluationTests {
  /// Three classes, ten texts: 4 of `a` (3 told), 4 of `b` (2 told, 1 taken for `a`, 1 for `c`), 2 of `c` (1 told).
  private var confusion: Confusion {
    var confusion = Confusion(["a", "b", "c"])
    confusion.add([0, 0, 0, 0, 1, 1], taken: [0, 0, 0, 1, 1, 1])
    confusion.add([1, 1, 2, 2], taken: [0, 2, 2, 0])
    return confusion
  }

  @Test func `Accuracy is the share of texts told right`() {
    #expect(confusion.total == 10)
    #expect(confusion.accuracy == 0.6)
    #expect(confusion.majority == 0.4)
  }

  @Test func `Macro F1 is the mean of each class's own`() {
    // F1 = 2 right / (there + told): a 6/(4+5), b 4/(4+3), c 2/(2+2).
    #expect(abs(confusion.macroF1 - (6.0 / 9 + 4.0 / 7 + 2.0 / 4) / 3) < 1e-12)
  }

  @Test func `A class that is neither there nor named counts for nothing`() {
    var confusion = Confusion(["a", "b", "never"])
    confusion.add([0, 1], taken: [0, 1])
    #expect(confusion.macroF1 == 1)
    #expect(Confusion(["a", "b"]).accuracy == 0)
  }
}

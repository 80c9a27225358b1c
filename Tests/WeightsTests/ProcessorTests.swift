import CKernels
import Foundation
import Testing

struct ProcessorTests {
  @Test func `Matrix products run on kernels as wide as the processor's registers`() {
    let core = String(cString: graft_blas_core())
    let wide = ["Haswell", "Zen", "Excavator", "SkylakeX", "Cooperlake", "SapphireRapids"]
    guard graft_uses_avx2(), ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"] == nil else { return }
    #expect(wide.contains { $0.lowercased() == core.lowercased() }, "\(core)")
  }

  @Test func `The choice of kernels leaves the environment as it was`() throws {
    // What the process was started with, whatever has been set since.
    let given = try Data(contentsOf: URL(fileURLWithPath: "/proc/self/environ")).split(separator: 0)
      .map { String(decoding: $0, as: UTF8.self) }.first { $0.hasPrefix("OPENBLAS_CORETYPE=") }
    #expect(getenv("OPENBLAS_CORETYPE").map { "OPENBLAS_CORETYPE=" + String(cString: $0) } == given)
  }
}

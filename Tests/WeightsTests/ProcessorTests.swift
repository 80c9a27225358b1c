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

  @Test func `The choice of kernels leaves the environment as it was`() {
    let command = ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"]
    #expect(getenv("OPENBLAS_CORETYPE").map { String(cString: $0) } == command)
  }
}

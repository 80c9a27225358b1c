import Testing

@testable import Files

/// Damaged checkpoints of every foreign form: reading one either works or says clearly what is wrong, and never more.
struct HostileCheckpointTests {
  let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// Opens the file and reads all of it; whatever is thrown must be a `FileError`.
  private func read(_ path: String) -> String {
    message {
      let file = try ArrayFile.open(path)
      for name in file.names {
        let entry = try file.entry(name)
        _ = try entry.floats()
        try #require(entry.shape.allSatisfy { $0 >= 0 })
      }
    }
  }

  private static let files = ["torch.pth", "torch-stream.pth", "torch-nested.pth", "model.onnx"]

  @Test(arguments: files)
  func `Every truncation is refused`(_ name: String) throws {
    let whole = try fixture(name)
    for length in 0..<whole.count {
      let answer = read(try scratch.file("cut-" + name, Array(whole.prefix(length))))
      // An ONNX model has no end of its own: one that lacks only its last fields is still one.
      let isWhole = name.hasSuffix(".onnx") && answer == "no error" && length > whole.count - 40
      #expect(isWhole || answer.hasPrefix("cut-\(name): "), "\(length): \(answer)")
    }
  }

  @Test(arguments: files)
  func `Damaged bytes are read or refused, and nothing else happens`(_ name: String) throws {
    let whole = try fixture(name)
    var random = SplitMix(state: 7)
    for round in 0..<1500 {
      let answer = read(try scratch.file("bad-" + name, mutated(whole, &random)))
      #expect(answer == "no error" || answer.hasPrefix("bad-\(name): "), "\(round): \(answer)")
    }
  }

  @Test(arguments: ["keras-old.h5", "every.h5"])
  func `A truncated HDF5 file is refused`(_ name: String) throws {
    let whole = try fixture(name)
    for length in stride(from: 8, to: whole.count, by: 37) {
      let answer = read(try scratch.file("cut-" + name, Array(whole.prefix(length))))
      #expect(answer.hasPrefix("cut-\(name): "), "\(length): \(answer)")
    }
  }

  @Test(arguments: ["torch.pth", "torch-nested.pth"])
  func `Every byte of an archive's directory may be wrong`(_ name: String) throws {
    let whole = try fixture(name)
    let start = try #require((0..<whole.count - 4).first { Array(whole[$0..<$0 + 4]) == [0x50, 0x4b, 1, 2] })
    for place in start..<whole.count {
      for change in [UInt8(1), 0x80, 0xff] {
        var bytes = whole
        bytes[place] ^= change
        let answer = read(try scratch.file("bad.pth", bytes))
        #expect(answer == "no error" || answer.hasPrefix("bad.pth: "), "\(place): \(answer)")
      }
    }
  }
}

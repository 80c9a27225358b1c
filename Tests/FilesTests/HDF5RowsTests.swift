import Files
import Testing

struct HDF5RowsTests {
  private func rows(_ path: String, shape: [Int]?) throws {
    let file = try HDF5Rows(creating: path, count: 2, width: 6, shape: shape)
    try file.write((0..<12).map(Float.init), to: 0..<2)
    try file.finish()
  }

  @Test func `The shape noted beside rows comes back, and their numbers do not depend on it`() throws {
    let scratch = try Scratch()
    for (name, shape) in [("flat", [6]), ("deep", [1, 2, 3]), ("bare", nil)] {
      let path = "\(scratch.path)/\(name).h5"
      try rows(path, shape: shape)
      #expect(try HDF5Rows.shape(notedIn: path) == shape)
      var values = [Float](repeating: 0, count: 12)
      try HDF5Rows(reading: path, count: 2, width: 6).read(0..<2, into: &values)
      #expect(values == (0..<12).map(Float.init))
    }
  }

  @Test(arguments: [[0, 6], [-2, -3], [1 << 40, 1 << 40], [1, 1, 2, 3]])
  func `Sizes that no row has are refused`(_ shape: [Int]) throws {
    let scratch = try Scratch(), path = scratch.path + "/wrong.h5"
    try rows(path, shape: shape)
    let error = message { _ = try HDF5Rows.shape(notedIn: path) }
    #expect(error == "wrong.h5: dataset 'shape': holds \(shape), which are no sizes of a row", "\(error)")
  }
}

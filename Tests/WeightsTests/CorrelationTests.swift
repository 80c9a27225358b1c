import CKernels
import Testing

struct CorrelationTests {
  @Test(arguments: [1, 3, 8, 19], [1, 5, 15, 16, 33, 64])
  func `Products of rows with columns are their sums at every level`(_ rows: Int, _ length: Int) {
    for columns in [1, 2, 3, 7] { check(rows, columns, length) }
  }

  private func check(_ rows: Int, _ columns: Int, _ length: Int) {
    let images = 3, gap = 2, places = (0..<columns).map { $0 * (length - 1) }
    let columnStride = columns * length + 5, rowPitch = length + gap
    var noise = Noise(seed: 31)
    let x = noise.normals(images * rows * rowPitch), y = noise.normals(images * columnStride)
    let start = noise.normals(rows * columns)
    for level in kernelLevels {
      var form = graft_correlation()
      (form.level, form.rows, form.columns, form.images, form.length) = (level, rows, columns, images, length)
      (form.row_pitch, form.row_stride, form.column_stride) = (rowPitch, rows * rowPitch, columnStride)
      (form.scale, form.row_step, form.column_step) = (0.5, 1, rows)
      var result = start
      graft_correlate(&form, x, y, places, &result)
      for row in 0..<rows {
        for column in 0..<columns {
          var sum = Double(start[column * rows + row])
          for image in 0..<images {
            for i in 0..<length {
              sum +=
                0.5 * Double(x[(image * rows + row) * rowPitch + i])
                * Double(y[image * columnStride + places[column] + i])
            }
          }
          // Up to 192 products of size about 1.
          #expect(abs(Double(result[column * rows + row]) - sum) < 192 * 0x1p-23, "level \(level), \(row), \(column)")
        }
      }
    }
  }
}

import CKernels

/// The quantiser that keeps the few largest numbers of a row in eight bits and of the others the sign.
///
///     salient:  w = scale × code + offset       code 0…255
///     others:   w = μ ± α                       μ their mean, α = E|w − μ|, the best magnitude for these signs
///
/// **Bytes** of a row: a bit a column for the salient ones, a bit a column for the signs (bit i of byte b is column
/// 8b + i), then μ, α, scale and offset in single precision, then a byte for each salient column in order.
///
/// Departure: the authors' code takes μ and α over all columns with the salient ones set to 0; here over the others alone.
///
/// Paper: <https://arxiv.org/abs/2310.00034>
enum PartlyBinary {
  static func salientCount(_ columns: Int, salient: Int) -> Int { (columns * salient + 50) / 100 }

  static func rowBytes(_ columns: Int, salient: Int) -> Int {
    columns == 0 ? 0 : columns / 4 + 16 + salientCount(columns, salient: salient)
  }

  /// What a row's numbers can become, once it is settled which are salient.
  struct Row {
    var isSalient: [Bool]
    let mean: Float, magnitude: Float
    let scale: Float, offset: Float

    /// The row's largest numbers, each weighed by its column's importance where there is one, are salient.
    init(_ row: UnsafePointer<Float>, _ columns: Int, salient: Int, importance: [Float]? = nil) {
      let count = salientCount(columns, salient: salient)
      let scores = (0..<columns).map { row[$0] * row[$0] * (importance?[$0] ?? 1) }
      let order = (0..<columns).sorted { (-scores[$0], $0) < (-scores[$1], $1) }
      isSalient = [Bool](repeating: false, count: columns)
      for column in order.prefix(count) { isSalient[column] = true }
      let (kept, others) = (order.prefix(count).map { row[$0] }, order.dropFirst(count).map { row[$0] })
      let middle = others.reduce(0.0) { $0 + Double($1) } / Double(max(1, others.count))
      mean = Float(middle)
      magnitude = Float(others.reduce(0.0) { $0 + abs(Double($1) - middle) } / Double(max(1, others.count)))
      offset = kept.min() ?? 0
      let range = ((kept.max() ?? 0) - offset) / 255
      scale = range >= smallestScale ? range : 0
    }

    func code(_ value: Float) -> UInt8 {
      UInt8(truncatingIfNeeded: nearest((value - offset) / (scale > 0 ? scale : .infinity), 0, 255))
    }

    /// What the value of a column becomes.
    func rounded(_ value: Float, _ column: Int) -> Float {
      isSalient[column] ? scale * Float(code(value)) + offset : value < mean ? mean - magnitude : mean + magnitude
    }

    func store(_ row: UnsafePointer<Float>, at out: UnsafeMutableRawPointer) {
      let columns = isSalient.count, numbers = out + columns / 4
      var next = numbers + 16
      for (index, number) in [mean, magnitude, scale, offset].enumerated() {
        numbers.storeSingle(number, at: 4 * index)
      }
      for byte in 0..<columns / 8 {
        var mask: UInt8 = 0, signs: UInt8 = 0
        for bit in 0..<8 {
          let column = 8 * byte + bit
          if isSalient[column] {
            mask |= 1 << UInt8(bit)
            next.storeByte(code(row[column]), at: 0)
            next += 1
          } else if row[column] >= mean {
            signs |= 1 << UInt8(bit)
          }
        }
        out.storeByte(mask, at: byte)
        out.storeByte(signs, at: columns / 8 + byte)
      }
    }
  }

  static func pack(_ row: UnsafePointer<Float>, _ columns: Int, salient: Int, _ out: UnsafeMutableRawPointer) {
    guard columns > 0 else { return }
    Row(row, columns, salient: salient).store(row, at: out)
  }
}

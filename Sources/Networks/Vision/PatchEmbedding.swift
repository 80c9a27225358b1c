import Autodiff
import Weights

/// Patches of an image as tokens, behind a class token, each with its position's vector added.
struct PatchEmbedding: Module {
  var projection: AdaptedConvolution
  /// The class token, and DeiT's token of its teacher.
  var extras: [Parameter]
  /// `[1, tokens, width]`, for a square of `side` × `side` patches; `[tokens, width]` in CLIP.
  var positions: Parameter
  private let side: Int, width: Int
  private let names: (patches: String, extras: [String], positions: String)

  init(_ name: String, _ c: VisionTransformerConfiguration, from source: any WeightSource) throws {
    let isCLIP = c.family == .clip, names = VisionTransformerNames(c.family).embeddings
    projection = try AdaptedConvolution(
      "\(name).\(names.patches)", c.preparation.input.channels, c.width, kernel: c.patch, stride: c.patch,
      hasBias: !isCLIP, from: source)
    extras = try names.extras.map {
      .frozen(try source.tensor("\(name).\($0)", shape: isCLIP ? [c.width] : [1, 1, c.width]))
    }
    let count = names.extras.count + c.tableSide * c.tableSide
    positions = .frozen(
      try source.tensor("\(name).\(names.positions)", shape: isCLIP ? [count, c.width] : [1, count, c.width]))
    self.names = names
    (side, width) = (c.tableSide, c.width)
  }

  /// Tokens that are no patches.
  var tokens: Int { extras.count }

  /// Images `[images, channels, height, width]` as tokens `[images, tokens, width]`.
  func callAsFunction(_ x: Tensor, _ context: Context) -> Tensor {
    let map = projection(x, context)
    let (images, rows, columns) = (map.shape[0], map.shape[2], map.shape[3]), count = rows * columns
    let patches = map.reshaped([images, width, count]).transposed.reshaped([images * count, width])
    let all = Tensor.concatenated(extras.map { $0.value.reshaped([1, width]) } + [patches])
    let first = tokens
    var order: [Int32] = []
    for image in 0..<images {
      order.append(contentsOf: 0..<Int32(first))
      let start = Int32(first + image * count)
      order.append(contentsOf: start..<start + Int32(count))
    }
    let h = all.gathered(order).reshaped([images, first + count, width])
    return h + table(rows: rows, columns: columns)
  }

  /// The positions of a map of other sizes, `[1, tokens, width]`: the class token's as it is, the patches' interpolated.
  private func table(rows: Int, columns: Int) -> Tensor {
    let flat = positions.value.reshaped([tokens + side * side, width])
    if rows == side && columns == side { return flat.reshaped([1, tokens + side * side, width]) }
    let patches = flat.rows(tokens..<flat.shape[0])
    let moved = matmul(bicubic(from: side, to: rows, columns), patches)
    return Tensor.concatenated([flat.rows(0..<tokens), moved]).reshaped([1, tokens + rows * columns, width])
  }

  mutating func visit(_ visitor: Visitor) {
    for (index, name) in names.extras.enumerated() { visitor(name, &extras[index]) }
    visitor(names.positions, &positions)
    visitor(names.patches, &projection)
  }
}

/// The matrix `[rows · columns, side²]` that turns a square table into one of other sizes by cubic convolution.
///
/// As PyTorch has it: a = −0.75, pixels meeting at their corners, the border repeated, no smoothing when shrinking.
func bicubic(from side: Int, to rows: Int, _ columns: Int) -> Tensor {
  func taps(_ size: Int) -> [[(index: Int, weight: Float)]] {
    let scale = Float(side) / Float(size), a: Float = -0.75
    return (0..<size).map { i in
      let place = scale * (Float(i) + 0.5) - 0.5, first = place.rounded(.down), t = place - first
      func near(_ x: Float) -> Float { ((a + 2) * x - (a + 3)) * x * x + 1 }
      func far(_ x: Float) -> Float { ((a * x - 5 * a) * x + 8 * a) * x - 4 * a }
      let weights = [far(t + 1), near(t), near(1 - t), far(2 - t)]
      return weights.enumerated().map { (min(max(Int(first) - 1 + $0, 0), side - 1), $1) }
    }
  }
  let down = taps(rows), across = taps(columns)
  var matrix = [Float](repeating: 0, count: rows * columns * side * side)
  for (r, vertical) in down.enumerated() {
    for (c, horizontal) in across.enumerated() {
      let row = (r * columns + c) * side * side
      for v in vertical { for h in horizontal { matrix[row + v.index * side + h.index] += v.weight * h.weight } }
    }
  }
  return Tensor(matrix, shape: [rows * columns, side * side])
}

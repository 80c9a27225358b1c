import Autodiff
import Testing

/// One operation at one set of operands, for the laws that hold for every operation.
struct Specimen: Sendable, CustomTestStringConvertible {
  let name: String
  let operands: [Tensor]
  let apply: @Sendable ([Tensor]) -> Tensor

  var testDescription: String { "\(name) of \(operands.map(\.shape.description).joined(separator: ", "))" }

  init(_ name: String, _ operands: [Tensor], _ apply: @escaping @Sendable ([Tensor]) -> Tensor) {
    (self.name, self.operands, self.apply) = (name, operands, apply)
  }

  /// The result and the gradients at all operands of ⟨direction, result⟩.
  func run(_ direction: Tensor? = nil) -> (result: Tensor, gradients: [Tensor]) {
    let watched = operands.map(\.watched), result = apply(watched)
    let direction = direction ?? .normal(result.shape, from: RandomKey(seed: 99))
    return (result.detached, gradients(of: (result * direction).sum, at: watched))
  }
}

/// Normal numbers of a stream of their own.
func numbers(_ shape: Shape, _ stream: Int = 0) -> Tensor { .normal(shape, from: RandomKey(seed: 7)[stream]) }

/// Numbers at least 0.1 from 0 and from 6, where rectifiers bend.
func awayFromBends(_ shape: Shape) -> Tensor {
  let values = (3 * numbers(shape)).values.map { x -> Float in
    let outside = abs(x) < 0.1 ? (x < 0 ? x - 0.1 : x + 0.1) : x
    return abs(outside - 6) < 0.1 ? 6.2 : outside
  }
  return Tensor(values, shape: shape)
}

/// Numbers of which no two are closer than 0.1.
func wellApart(_ shape: Shape) -> Tensor {
  Tensor(RandomKey(seed: 3).permutation(shape.count).map { Float($0) * 0.1 }, shape: shape)
}

/// A matrix that hands out floats row by row, as a packed one does.
struct PackedStandIn: FrozenMatrix {
  let matrix: Tensor
  var rows: Int { matrix.shape[0] }
  var columns: Int { matrix.shape[1] }
  func unpack(rows: Range<Int>, into place: UnsafeMutablePointer<Float>) {
    matrix.withValues { values in
      for (i, index) in (rows.lowerBound * columns..<rows.upperBound * columns).enumerated() {
        place[i] = values[index]
      }
    }
  }
}

// Odd sizes, a single element, sizes beside multiples of 8, and one that is cut into several tiles.
let shapes: [Shape] = [[1], [3, 5], [1, 1], [2, 3, 17], [2, 3, 4, 5], [70, 1001]]
let matrixShapes: [Shape] = [[1, 1], [3, 5], [7, 17], [2, 3, 9], [130, 300]]

let unary: [Specimen] = shapes.flatMap { shape in
  let plain = numbers(shape), bent = awayFromBends(shape)
  let positive = Tensor(plain.values.map { abs($0) + 0.5 }, shape: shape)
  return [
    Specimen("rectified", [bent]) { $0[0].rectified },
    Specimen("rectified6", [bent]) { $0[0].rectified6 },
    Specimen("sigmoid", [plain]) { $0[0].sigmoid },
    Specimen("tanh", [plain]) { $0[0].tanh },
    Specimen("silu", [plain]) { $0[0].silu },
    Specimen("gelu", [plain]) { $0[0].gelu },
    Specimen("geluTanh", [plain]) { $0[0].geluTanh },
    Specimen("exponential", [plain]) { $0[0].exponential },
    Specimen("logarithm", [positive]) { $0[0].logarithm },
    Specimen("squareRoot", [positive]) { $0[0].squareRoot },
    Specimen("softmax", [plain]) { $0[0].softmax },
    Specimen("negation", [plain]) { -$0[0] },
    Specimen("scaled", [plain]) { 1.7 * $0[0] },
    Specimen("shifted", [plain]) { $0[0] + 2.5 },
    Specimen("sum", [plain]) { $0[0].sum },
    Specimen("mean", [plain]) { $0[0].mean },
    Specimen("rowSums", [plain]) { $0[0].rowSums },
    Specimen("rowMeans", [plain]) { $0[0].rowMeans },
    Specimen("used twice", [plain]) { $0[0] * $0[0] + $0[0] },
    Specimen("siluProduct", [plain, numbers(shape, 1)]) { siluProduct($0[0], $0[1]) },
    Specimen("meanSquaredError", [plain, numbers(shape, 1)]) { meanSquaredError($0[0], $0[1]) },
    Specimen("reshaped", [plain]) { $0[0].reshaped([1, $0[0].count]) },
    Specimen("rows", [plain]) { $0[0].rows(0..<max(1, $0[0].shape[0] / 2)) },
    Specimen("columns", [plain]) { $0[0].columns($0[0].shape[-1] / 2..<$0[0].shape[-1]) },
    Specimen("concatenated", [plain, numbers(shape, 1)]) { .concatenated([$0[0], $0[1], $0[0]]) },
    Specimen("gathered", [plain]) { $0[0].gathered([0, Int32($0[0].shape[0] - 1), 0]) },
  ]
}

let broadcastPairs: [(Shape, Shape)] = [
  ([5], [5]), ([3, 5], [5]), ([3, 1], [1, 5]), ([2, 3, 4], [3, 1]), ([], [2, 3]), ([2, 1, 3, 1], [4, 1, 9]),
  ([200, 333], [333]), ([200, 1], [200, 333]),
]

let binary: [Specimen] = broadcastPairs.flatMap { a, b in
  let x = numbers(a), y = numbers(b, 1), divisor = Tensor(y.values.map { abs($0) + 1 }, shape: b)
  return [
    Specimen("+", [x, y]) { $0[0] + $0[1] }, Specimen("-", [x, y]) { $0[0] - $0[1] },
    Specimen("*", [x, y]) { $0[0] * $0[1] }, Specimen("/", [x, divisor]) { $0[0] / $0[1] },
  ]
}

let rearrangements: [Specimen] = [
  ([3, 5], [1, 0]), ([2, 3, 5], [2, 0, 1]), ([2, 3, 4, 5], [0, 2, 1, 3]), ([2, 3, 4, 5], [3, 1, 0, 2]),
  ([300, 257], [1, 0]),
].map { (shape: Shape, order: [Int]) in
  Specimen("transposed \(order)", [numbers(shape)]) { $0[0].transposed(order) }
}

let products: [Specimen] = [
  ([1, 1], [1, 1]), ([3, 5], [5, 7]), ([9, 17], [17, 1]), ([2, 3, 5], [2, 5, 4]), ([300, 129], [129, 131]),
].flatMap { (a: Shape, b: Shape) in
  let x = numbers(a), y = numbers(b, 1)
  return [
    Specimen("matmul", [x, y]) { matmul($0[0], $0[1]) },
    Specimen("matmul Aᵀ", [x.transposed, y]) { matmul($0[0], $0[1], transposingA: true) },
    Specimen("matmul Bᵀ", [x, y.transposed]) { matmul($0[0], $0[1], transposingB: true) },
    Specimen("matmul AᵀBᵀ", [x.transposed, y.transposed]) {
      matmul($0[0], $0[1], transposingA: true, transposingB: true)
    },
  ]
}

let rowwise: [Specimen] = matrixShapes.flatMap { shape in
  let x = numbers(shape), n = shape[-1], w = numbers([n], 1) + 2, b = numbers([n], 2)
  let rows = shape.count / n, outputs = 11
  let frozen = PackedStandIn(matrix: 0.3 * numbers([outputs, n], 3)), bias = numbers([outputs], 4)
  let a = 0.3 * numbers([4, n], 5), up = 0.3 * numbers([outputs, 4], 6)
  let mask = Tensor(numbers(shape, 8).values.map { $0 > 0 ? 2 : 0 }, shape: shape)
  let labels = (0..<rows).map { $0 % 5 == 3 ? ignoredLabel : Int32($0 % n) }
  let headLabels = (0..<rows).map { $0 % 5 == 3 ? ignoredLabel : Int32($0 % outputs) }
  let teacher = numbers(shape, 9)
  return [
    Specimen("layerNorm", [x, w, b]) { layerNorm($0[0], weight: $0[1], bias: $0[2], epsilon: 0.1) },
    Specimen("rmsNorm", [x, w]) { rmsNorm($0[0], weight: $0[1], epsilon: 0.1) },
    Specimen("linear", [x, 0.3 * numbers([outputs, n], 3), bias]) { linear($0[0], weight: $0[1], bias: $0[2]) },
    Specimen("linear, frozen", [x]) { linear($0[0], frozen) },
    Specimen("linear, frozen, bias", [x, bias]) { linear($0[0], frozen, bias: $0[1]) },
    Specimen("lowRankLinear", [x, a, up]) { lowRankLinear($0[0], frozen, a: $0[1], b: $0[2], scale: 0.5) },
    Specimen("lowRankLinear, bias, mask", [x, a, up, bias]) {
      lowRankLinear($0[0], frozen, bias: $0[3], a: $0[1], b: $0[2], scale: 0.5) { mask }
    },
    Specimen("linear, changed columns", [x, 0.3 * numbers([outputs, 2], 10), bias]) {
      linear($0[0], frozen, bias: $0[2], columns: [n - 1, 0].prefix(n).sorted(), delta: $0[1].columns(0..<min(n, 2)))
    },
    Specimen("linear, changed rows", [x, 0.3 * numbers([2, n], 10), bias]) {
      linear($0[0], frozen, bias: $0[2], rows: [3, 10], delta: $0[1])
    },
    Specimen("crossEntropySum", [x]) { crossEntropySum($0[0], labels: labels) },
    Specimen("linearCrossEntropySum", [x]) { linearCrossEntropySum($0[0], head: frozen, labels: headLabels) },
    Specimen("divergenceSum", [x]) { divergenceSum(student: $0[0], teacher: teacher) },
  ]
}

/// Heads, key heads, head size and lengths with a pattern for each.
let attentionCases: [(heads: Int, kvHeads: Int, size: Int, pattern: AttentionPattern)] = [
  (1, 1, 1, AttentionPattern(lengths: [1], isCausal: true)),
  (2, 2, 5, AttentionPattern(lengths: [7], isCausal: true)),
  (2, 2, 5, AttentionPattern(lengths: [7], isCausal: false)),
  (4, 2, 8, AttentionPattern(lengths: [3, 9, 1], isCausal: true)),
  (4, 1, 3, AttentionPattern(lengths: [12, 5], isCausal: false)),
  (2, 1, 9, AttentionPattern(lengths: [11, 6], isCausal: true, window: 3)),
  (4, 2, 16, AttentionPattern(lengths: [130, 70], isCausal: true)),
  (2, 2, 8, AttentionPattern(lengths: [150], isCausal: true, window: 40)),
]

let attentions: [Specimen] = attentionCases.map { heads, kvHeads, size, pattern in
  let tokens = pattern.tokens
  return Specimen(
    "attention \(heads)/\(kvHeads), \(pattern)",
    [numbers([tokens, heads * size]), numbers([tokens, kvHeads * size], 1), numbers([tokens, kvHeads * size], 2)]
  ) { attention($0[0], $0[1], $0[2], heads: heads, kvHeads: kvHeads, pattern: pattern, scale: 0.4) }
}

let rotaries: [Specimen] = [(1, 2, 2, 1), (5, 3, 10, 3), (5, 2, 10, 5), (100, 2, 64, 32)].map {
  tokens, heads, size, pairs in
  let table = RotaryTable(frequencies: (0..<pairs).map { 1 / Double($0 + 1) }, positions: 0..<200)
  let positions = (0..<tokens).map { Int32($0 * 2 % 150) }
  return Specimen("rotary", [numbers([tokens, heads * size])]) {
    rotary($0[0], table, positions: positions, headSize: size)
  }
}

let images: [Specimen] =
  ConvolutionCase.all.map { c in
    Specimen("conv2d \(c)", [numbers(c.input), 0.3 * numbers(c.weight, 1), numbers([c.weight[0]], 2)]) {
      conv2d(
        $0[0], weight: $0[1], bias: $0[2], stride: c.stride, padding: c.padding, dilation: c.dilation, groups: c.groups)
    }
  }
  + ConvolutionCase.all.map { c in
    let filters = 0.3 * numbers(c.weight, 1), matrix = filters.reshaped([c.weight[0], filters.count / c.weight[0]])
    return Specimen("conv2d, frozen \(c)", [numbers(c.input), numbers([c.weight[0]], 2)]) {
      conv2d(
        $0[0], PackedStandIn(matrix: matrix), kernel: (c.weight[2], c.weight[3]), bias: $0[1], stride: c.stride,
        padding: c.padding, dilation: c.dilation, groups: c.groups)
    }
  }
  + ConvolutionCase.all.filter { $0.groups == 1 }.map { c in
    let filters = 0.3 * numbers(c.weight, 1), matrix = filters.reshaped([c.weight[0], filters.count / c.weight[0]])
    let a = 0.3 * numbers([3, c.weight[1], c.weight[2], c.weight[3]], 3)
    return Specimen("lowRankConv2d \(c)", [numbers(c.input), a, 0.5 * numbers([c.weight[0], 3, 1, 1], 4)]) {
      lowRankConv2d(
        $0[0], PackedStandIn(matrix: matrix), a: $0[1], b: $0[2], scale: 0.5, stride: c.stride, padding: c.padding,
        dilation: c.dilation)
    }
  }
  + [[1, 1, 4, 4], [2, 3, 7, 9], [3, 5, 33, 29], [4, 16, 40, 40]].flatMap { (shape: Shape) in
    let channels = shape[1], x = numbers(shape), w = numbers([channels], 1) + 2, b = numbers([channels], 2)
    let moments = ChannelMoments(
      mean: numbers([channels], 3), variance: (numbers([channels], 4) * numbers([channels], 4)) + 1)
    return [
      Specimen("batchNorm", [x, w, b]) { batchNorm($0[0], weight: $0[1], bias: $0[2], epsilon: 0.1).result },
      Specimen("batchNorm, given moments", [x, w, b]) {
        batchNorm($0[0], weight: $0[1], bias: $0[2], moments: moments, epsilon: 0.1)
      },
      Specimen("maxPool", [wellApart(shape)]) { maxPool($0[0], kernel: 3, stride: 2, padding: Padding(1)) },
      Specimen("averagePool", [x]) { averagePool($0[0], kernel: 3, stride: 2, padding: Padding(1)) },
      Specimen("averagePool of the image", [x]) {
        averagePool($0[0], kernel: 2, stride: 1, padding: Padding(1), countsPadding: false)
      },
      Specimen("globalAveragePool", [x]) { globalAveragePool($0[0]) },
    ]
  }
  + [
    Specimen("batchNorm of rows", [numbers([6, 5]), numbers([5], 1), numbers([5], 2)]) {
      batchNorm($0[0], weight: $0[1], bias: $0[2], epsilon: 0.1).result
    }
  ]

let routes: [Specimen] = [(1, 1, 1, [1]), (3, 5, 2, [2, 0, 3, 1]), (70, 40, 8, [60, 1, 90])].map {
  inputs, outputs, rank, lengths in
  let x = numbers([lengths.reduce(0, +), inputs]), pairs = 2
  var start = 0
  let runs = lengths.enumerated().map { index, length in
    defer { start += length }
    return (factors: (index + 1) % pairs, rows: start..<start + length)
  }
  return Specimen(
    "routedLowRank", [x, 0.3 * numbers([pairs, rank, inputs], 5), 0.3 * numbers([pairs, outputs, rank], 6)]
  ) { routedLowRank($0[0], a: $0[1], b: $0[2], scale: 0.5, runs: runs) }
}

let averages: [Specimen] = [([1, 3], [[0, 2]]), ([5, 17], [[1, 0, 16], [4, 7]]), ([90, 400], [[3, 399, 8, 4]])].map {
  (shape: Shape, groups: [[Int]]) in
  Specimen("averagingChannels", [numbers(shape)]) { $0[0].averagingChannels(groups) }
}

let everyOperation =
  averages + unary + binary + rearrangements + products + rowwise + routes + attentions + rotaries + images

/// Turns convolution kernels from the order Keras stores into the one PyTorch, ONNX and Graft compute with.
public enum KernelLayout {
  /// A kernel `[height, width, inputs, outputs]` as `[outputs, inputs, height, width]`.
  ///
  /// - Throws: `FileError` when the kernel does not have four axes, or its numbers do not fill them.
  public static func oihw(
    fromHWIO values: [Float], shape: [Int], path: String, name: String
  ) throws -> (values: [Float], shape: [Int]) {
    try permuted(values, shape, by: [3, 2, 0, 1], path, name)
  }

  /// A depthwise kernel `[height, width, channels, multiplier]` as `[channels × multiplier, 1, height, width]`.
  ///
  /// Channel `c` of the input gives channels `c × multiplier` and following of the output, in both orders.
  public static func depthwise(
    fromHWCM values: [Float], shape: [Int], path: String, name: String
  ) throws -> (values: [Float], shape: [Int]) {
    let (values, turned) = try permuted(values, shape, by: [2, 3, 0, 1], path, name)
    return (values, [turned[0] * turned[1], 1, turned[2], turned[3]])
  }

  private static func permuted(
    _ values: [Float], _ shape: [Int], by order: [Int], _ path: String, _ name: String
  ) throws -> (values: [Float], shape: [Int]) {
    guard shape.count == 4, ElementType.f32.byteCount(shape) == values.count * 4 else {
      throw FileError(
        path, at: "tensor \(quoted(name))",
        "has shape \(described(shape: shape)) and \(values.count) numbers; a kernel has four axes and fills them")
    }
    let strides = StridedLayout.rowMajor(shape)
    let layout = StridedLayout(shape: order.map { shape[$0] }, strides: order.map { strides[$0] })
    let bytes = values.withUnsafeBytes { layout.gathered($0, size: 4) }
    let turned = bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    return (turned, layout.shape)
  }
}

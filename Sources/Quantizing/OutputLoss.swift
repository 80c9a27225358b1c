import Autodiff

/// What an error of a matrix costs its layer's output, on the inputs whose second moment was measured:
/// E‖E x‖² = tr(E C Eᵀ), exactly.
struct OutputLoss: Sendable {
  /// C = E[x xᵀ], `[inputs, inputs]`.
  var moment: Tensor

  /// The mean squared length of `error` x, for `error` `[outputs, inputs]`.
  func callAsFunction(_ error: Tensor) -> Double {
    let product = matmul(error, moment), width = moment.shape[0]
    return product.withValues { product in
      error.withValues { error in
        var sum = 0.0
        for row in stride(from: 0, to: error.count, by: width) {
          var part: Float = 0
          for i in row..<row + width { part += product[i] * error[i] }
          sum += Double(part)
        }
        return sum
      }
    }
  }

  /// The same where inputs are divided by `scales`, `[inputs]`.
  func dividingInputs(by scales: Tensor) -> OutputLoss {
    let inverse = Tensor(scales.values.map { 1 / $0 }, shape: scales.shape)
    return OutputLoss(moment: moment * inverse * inverse.reshaped([inverse.count, 1]))
  }
}

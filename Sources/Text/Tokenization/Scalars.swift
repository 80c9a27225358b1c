extension [UInt8] {
  /// The scalars in UTF-8.
  init(utf8 scalars: some Collection<Unicode.Scalar>) {
    self = []
    reserveCapacity(scalars.count + 8)
    for scalar in scalars {
      if scalar.isASCII {
        append(UInt8(truncatingIfNeeded: scalar.value))
      } else {
        append(contentsOf: UTF8.encode(scalar) ?? .init())
      }
    }
  }
}

extension String {
  /// The text of these scalars.
  init(scalars: some Sequence<Unicode.Scalar>) {
    var view = UnicodeScalarView()
    view.append(contentsOf: scalars)
    self.init(view)
  }

  /// Whether both are the same scalars; `==` also holds for texts that Unicode calls equivalent.
  func isSame(as other: String) -> Bool { utf8.elementsEqual(other.utf8) }
}

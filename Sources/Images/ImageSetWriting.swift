import Files

extension ImageSet {
  /// Writes a set of images whole or not at all: equal images, labels and origins make equal files.
  ///
  /// - Parameters:
  ///   - labels: the class of each image to come, from 0.
  ///   - shape: `[height, width, channels]` of every image.
  ///   - next: some more images, `[n, height, width, channels]`, for as long as labels are left.
  /// - Throws: what `next` throws, or a ``FileError`` for images, names and labels that a set cannot have; then an old
  ///   file of that name is untouched.
  public static func write(
    _ path: String, labels: [Int], classNames: [String], shape: [Int], origin: Origin, next: () throws -> [UInt8]
  ) throws {
    guard shape.count == 3, (1...largestSide).contains(shape[0]), (1...largestSide).contains(shape[1]),
      shape[2] == 1 || shape[2] == 3
    else {
      throw FileError(
        path,
        "images of shape \(shape) cannot be kept; expected [height, width, channels] with sides of 1 to \(largestSide)")
    }
    try check(classNames, path)
    try check(labels, classNames, path)
    let size = shape.reduce(1, *)
    guard size <= 16 << 20 else {
      throw FileError(
        path, "an image of shape \(shape) is larger than the 16 MB kept as one piece", remedy: "resize it")
    }
    let chunk = max(1, min(labels.count, (1 << 16) / size))
    try HDF5Writer.write(path, checksummed: true) { file in
      try file.set("format", format)
      try file.set("version", version)
      try file.set("name", origin.name)
      try file.set("source", origin.source)
      try file.set("licence", origin.licence)
      var written = 0
      // Whole chunks at once: a chunk that is written in parts is packed again for each.
      var pending: [UInt8] = []
      _ = try file.add("images", row: shape, chunk: chunk) { () -> [UInt8]? in
        let wanted = min(chunk, labels.count - written)
        guard wanted > 0 else { return nil }
        while pending.count < wanted * size {
          let more = try next()
          guard !more.isEmpty, more.count % size == 0, pending.count + more.count <= (labels.count - written) * size
          else {
            throw FileError(path, "\(labels.count) labels do not go with the images that were given")
          }
          pending += more
        }
        written += wanted
        defer { pending.removeFirst(wanted * size) }
        return Array(pending.prefix(wanted * size))
      }
      try file.add("labels", labels.map(Int32.init), shape: [labels.count])
      let names = Array(JSON.array(classNames.map(JSON.string)).text().utf8)
      try file.add("class_names", names, shape: [names.count])
    }
  }

  /// Writes the images at `indices` as a set of their own, in that order and with the same classes.
  ///
  /// - Throws: a ``FileError`` when a class would have no image, and what ``rows(at:)`` throws.
  public func write(_ indices: [Int], to path: String) throws {
    var next = 0
    try Self.write(
      path, labels: indices.map { labels[$0] }, classNames: classNames, shape: [height, width, channels], origin: origin
    ) {
      let end = min(indices.count, next + chunk)
      defer { next = end }
      return try rows(at: Array(indices[next..<end]))
    }
  }
}

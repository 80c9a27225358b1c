import Glibc

/// A name from a file, in single quotes, fit for a one-line message: shortened when long, control characters replaced.
package func quoted(_ name: String) -> String {
  let limit = 80
  var text = ""
  for (index, scalar) in name.unicodeScalars.enumerated() {
    if index == limit {
      text += "…"
      break
    }
    let isControl = scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
    text.unicodeScalars.append(isControl ? "\u{fffd}" : scalar)
  }
  return "'\(text)'"
}

/// A shape from a file, in brackets, fit for a one-line message: a file may claim any number of dimensions.
package func described(shape: [Int]) -> String {
  let limit = 8
  let sizes = shape.prefix(limit).map(String.init) + (shape.count > limit ? ["…"] : [])
  return "[\(sizes.joined(separator: ", "))]"
}

/// What the system says about an error number, in its own words and without capital.
package func systemMessage(_ number: Int32) -> String {
  guard let text = strerror(number) else { return "error \(number)" }
  let message = String(cString: text)
  return message.prefix(1).lowercased() + message.dropFirst()
}

/// The candidate spelled most like `name`, when one is near enough to have been meant.
///
/// Nearness is edit distance, at most a third of the name's length.
///
/// - Complexity: O(*candidates* × *length*²), over at most 4,096 candidates of at most 256 bytes.
package func nearest(to name: String, among candidates: some Sequence<String>) -> String? {
  let wanted = Array(name.utf8)
  guard wanted.count <= 256 else { return nil }
  var best: String?
  var bestDistance = wanted.count / 3 + 1
  for candidate in candidates.prefix(4096) where abs(candidate.utf8.count - wanted.count) < bestDistance {
    guard candidate.utf8.count <= 256 else { continue }
    let distance = editDistance(wanted, Array(candidate.utf8))
    if distance < bestDistance {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/// How many bytes must be inserted, removed or replaced to turn `a` into `b`.
private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  var row = Array(0...b.count)
  for (i, left) in a.enumerated() {
    var diagonal = row[0]
    row[0] = i + 1
    for (j, right) in b.enumerated() {
      let substitution = diagonal + (left == right ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(substitution, diagonal + 1, row[j] + 1)
    }
  }
  return row[b.count]
}

import Files

/// What separates the pieces of a text.
enum Separator: Sendable {
  /// Each occurrence of these scalars.
  case literal([Unicode.Scalar])
  /// Each match of an expression.
  case pattern(Pattern)
  /// Each single scalar for which this holds.
  case scalars(@Sendable (Unicode.Scalar) -> Bool)

  /// `{"String": …}` or `{"Regex": …}`.
  init(_ component: TokenizerComponent) throws {
    if let text = component.json["String"]?.string {
      self = .literal(Array(text.unicodeScalars))
    } else if let source = component.json["Regex"]?.string {
      self = .pattern(try Pattern(source, path: component.path, place: component.place))
    } else {
      throw component.error("a pattern must be a 'String' or a 'Regex'")
    }
  }

  func matches(in text: ArraySlice<Unicode.Scalar>) -> [Range<Int>] {
    switch self {
    case .pattern(let pattern): return pattern.matches(in: text)
    case .scalars(let holds): return text.indices.filter { holds(text[$0]) }.map { $0..<($0 + 1) }
    case .literal(let literal):
      guard let first = literal.first else { return [] }
      var matches: [Range<Int>] = []
      var position = text.startIndex
      while position + literal.count <= text.endIndex {
        if text[position] == first, text[position...].starts(with: literal) {
          matches.append(position..<(position + literal.count))
          position += literal.count
        } else {
          position += 1
        }
      }
      return matches
    }
  }

  /// `text` with every match replaced.
  func replacing(in text: [Unicode.Scalar], with content: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var result: [Unicode.Scalar] = []
    result.reserveCapacity(text.count)
    var position = 0
    for match in matches(in: text[...]) {
      result += text[position..<match.lowerBound]
      result += content
      position = match.upperBound
    }
    return result + text[position...]
  }
}

extension Separator {
  /// How many times longer a text may become when every match is replaced.
  func growth(replacedBy content: [Unicode.Scalar]) -> Double {
    if case .literal(let literal) = self { return max(1, Double(content.count) / Double(max(1, literal.count))) }
    return max(1, Double(content.count))
  }
}

/// What becomes of the separators when a text is split.
enum SplitBehavior: String, Sendable {
  case removed = "Removed"
  case isolated = "Isolated"
  case mergedWithPrevious = "MergedWithPrevious"
  case mergedWithNext = "MergedWithNext"
  case contiguous = "Contiguous"

  /// The pieces of `text`, none of them empty.
  ///
  /// - Parameter isInverted: Whether what lies between the matches separates, rather than the matches.
  func pieces(
    of text: ArraySlice<Unicode.Scalar>, at separator: Separator, isInverted: Bool = false
  ) -> [Range<Int>] {
    var parts: [(range: Range<Int>, separates: Bool)] = []
    var position = text.startIndex
    for match in separator.matches(in: text) {
      if match.lowerBound > position { parts.append((position..<match.lowerBound, isInverted)) }
      parts.append((match, !isInverted))
      position = match.upperBound
    }
    if position < text.endIndex { parts.append((position..<text.endIndex, isInverted)) }

    switch self {
    case .isolated: return parts.map(\.range)
    case .removed: return parts.filter { !$0.separates }.map(\.range)
    case .contiguous:
      var pieces: [Range<Int>] = []
      var previous: Bool?
      for part in parts {
        if part.separates == previous, let last = pieces.popLast() {
          pieces.append(last.lowerBound..<part.range.upperBound)
        } else {
          pieces.append(part.range)
        }
        previous = part.separates
      }
      return pieces
    case .mergedWithPrevious:
      // Of several separators in a row only the first joins its neighbour.
      var pieces: [Range<Int>] = []
      var previous = false
      for part in parts {
        if part.separates, !previous, let last = pieces.popLast() {
          pieces.append(last.lowerBound..<part.range.upperBound)
        } else {
          pieces.append(part.range)
        }
        previous = part.separates
      }
      return pieces
    case .mergedWithNext:
      var pieces: [Range<Int>] = []
      var previous = false
      for part in parts.reversed() {
        if part.separates, !previous, let last = pieces.popLast() {
          pieces.append(part.range.lowerBound..<last.upperBound)
        } else {
          pieces.append(part.range)
        }
        previous = part.separates
      }
      return pieces.reversed()
    }
  }
}

import Files

/// A part of a regular expression.
indirect enum PatternNode {
  case set(ScalarSet)
  case look(ScalarSet, isNegated: Bool)
  case sequence([PatternNode])
  case choice([PatternNode])
  case repeated(PatternNode, least: Int, most: Int?, isLazy: Bool)
}

/// Reads the text of a regular expression into a tree.
struct PatternParser {
  private let scalars: [Unicode.Scalar]
  private var position = 0
  private var depth = 0
  private var ignoresCase = false
  private let path: String
  private let place: String

  init(_ source: String, path: String, place: String) {
    scalars = Array(source.unicodeScalars)
    self.path = path
    self.place = place
  }

  /// The whole expression.
  mutating func pattern() throws -> PatternNode {
    let tree = try choice()
    guard position == scalars.count else { throw unknown("a ')' without its '('") }
    return tree
  }

  private func unknown(_ what: String) -> FileError {
    FileError(path, at: place, "\(what) at character \(position + 1) of the regular expression is not supported")
  }

  private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  private mutating func skip(_ text: String) -> Bool {
    guard scalars[position...].starts(with: text.unicodeScalars) else { return false }
    position += text.unicodeScalars.count
    return true
  }

  private mutating func choice() throws -> PatternNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= 50 else { throw unknown("nesting deeper than 50 groups") }
    var branches = [try sequence()]
    while skip("|") { branches.append(try sequence()) }
    return branches.count == 1 ? branches[0] : .choice(branches)
  }

  private mutating func sequence() throws -> PatternNode {
    var nodes: [PatternNode] = []
    while let scalar = next, scalar != "|", scalar != ")" {
      let atom = try atom()
      nodes.append(try quantified(atom))
    }
    return .sequence(nodes)
  }

  private mutating func quantified(_ atom: PatternNode) throws -> PatternNode {
    var bounds: (least: Int, most: Int?)?
    if skip("*") {
      bounds = (0, nil)
    } else if skip("+") {
      bounds = (1, nil)
    } else if skip("?") {
      bounds = (0, 1)
    } else if next == "{" {
      bounds = try braces()
    }
    guard let bounds else { return atom }
    let isLazy = skip("?")
    guard next != "+", next != "*" else { throw unknown("a quantifier after a quantifier") }
    return .repeated(atom, least: bounds.least, most: bounds.most, isLazy: isLazy)
  }

  /// `{m}`, `{m,}`, `{,n}` or `{m,n}`.
  private mutating func braces() throws -> (Int, Int?) {
    guard let close = scalars[position...].firstIndex(of: "}") else { throw unknown("a '{' without its '}'") }
    let inside = scalars[(position + 1)..<close]
    let parts = inside.split(separator: ",", omittingEmptySubsequences: false).map(String.init(scalars:))
    let numbers = parts.map { Int($0) }
    let isEmpty = parts.map(\.isEmpty)
    let least = numbers[0] ?? (isEmpty[0] ? 0 : -1)
    let most = parts.count == 1 ? numbers[0] : (parts.count == 2 ? numbers[1] ?? (isEmpty[1] ? nil : -1) : -1)
    guard least >= 0, least <= 1000, most.map({ $0 >= least && $0 <= 1000 }) ?? true, !isEmpty.allSatisfy({ $0 }) else {
      throw unknown("a quantifier in braces")
    }
    position = close + 1
    return (least, most)
  }

  private mutating func atom() throws -> PatternNode {
    if skip("(") { return try group() }
    if skip("[") { return .set(try setClass()) }
    if skip("\\") { return .set(try escape(inClass: false)) }
    if skip(".") { return .set(ScalarSet([.range(10...10)], isNegated: true)) }
    guard let scalar = next, !"^$*+?{".unicodeScalars.contains(scalar) else {
      throw unknown(next.map { quoted(String($0)) } ?? "the end")
    }
    position += 1
    return .set(ignoresCase ? .anyCase(scalar) : ScalarSet([.range(scalar.value...scalar.value)]))
  }

  private mutating func group() throws -> PatternNode {
    let outer = ignoresCase
    defer { ignoresCase = outer }
    if skip("?=") || skip("?!") {
      let isNegated = scalars[position - 1] == "!"
      guard case .set(let set) = try Self.only(choice()), skip(")") else {
        throw unknown("a look-ahead at more than one character")
      }
      return .look(set, isNegated: isNegated)
    }
    if skip("?i:") {
      ignoresCase = true
    } else if !skip("?:"), next == "?" {
      throw unknown("a group that begins '(?'")
    }
    let inside = try choice()
    guard skip(")") else { throw unknown("a '(' without its ')'") }
    return inside
  }

  /// The only node of a sequence of one.
  private static func only(_ node: PatternNode) -> PatternNode {
    if case .sequence(let nodes) = node, nodes.count == 1 { return only(nodes[0]) }
    return node
  }

  private mutating func setClass() throws -> ScalarSet {
    depth += 1
    defer { depth -= 1 }
    guard depth <= 50 else { throw unknown("nesting deeper than 50 classes") }
    let isNegated = skip("^")
    var items: [ScalarSet.Item] = []
    while let scalar = next, scalar != "]" || items.isEmpty {
      if scalar == "]" { throw unknown("an empty class") }
      if skip("[") {
        if next == ":" { throw unknown("a class in '[:'") }
        items.append(.set(try setClass()))
        continue
      }
      if scalar == "&", position + 1 < scalars.count, scalars[position + 1] == "&" { throw unknown("'&&'") }
      guard let first = try member() else {
        items.append(.set(try escape(inClass: true)))
        continue
      }
      // A hyphen is a range only between two members.
      if next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" {
        position += 1
        guard let last = try member(), last.value >= first.value else { throw unknown("a range in a class") }
        items.append(.range(first.value...last.value))
      } else {
        items.append(.range(first.value...first.value))
      }
    }
    guard skip("]") else { throw unknown("a '[' without its ']'") }
    let set = ScalarSet(items, isNegated: isNegated)
    return ignoresCase ? set.ignoringCase() : set
  }

  /// One scalar of a class, literal or escaped; nothing, after the backslash, when the escape stands for a set.
  private mutating func member() throws -> Unicode.Scalar? {
    guard skip("\\") else {
      guard let scalar = next else { throw unknown("a '[' without its ']'") }
      position += 1
      return scalar
    }
    guard let letter = next else { throw unknown("a backslash at the end") }
    if "pPsSdDwW".unicodeScalars.contains(letter) { return nil }
    return try escapedScalar()
  }

  private mutating func escape(inClass: Bool) throws -> ScalarSet {
    guard let letter = next else { throw unknown("a backslash at the end") }
    let items: [ScalarSet.Item]
    switch letter {
    case "s", "S": items = [.whitespace]
    case "d", "D": items = [.categories(0x100)]
    case "w", "W":
      // Outside a class Oniguruma also counts ² ³ ¹ ¼ ½ ¾.
      items = inClass ? [.word] : [.word, .range(0xb2...0xb3), .range(0xb9...0xb9), .range(0xbc...0xbe)]
    case "p", "P":
      position += 1
      guard skip("{"), let close = scalars[position...].firstIndex(of: "}") else { throw unknown("'\\p'") }
      let name = scalars[position..<close]
      let isNegated = (name.first == "^") != (letter == "P")
      let bare = String(scalars: name.first == "^" ? name.dropFirst() : name)
      guard let mask = ScalarSet.categories(named: bare) else { throw unknown(quoted("\\p{\(String(scalars: name))}")) }
      position = close + 1
      return ScalarSet([.categories(mask)], isNegated: isNegated)
    default:
      let scalar = try escapedScalar()
      return ignoresCase ? .anyCase(scalar) : ScalarSet([.range(scalar.value...scalar.value)])
    }
    position += 1
    return ScalarSet(items, isNegated: "SDW".unicodeScalars.contains(letter))
  }

  private mutating func escapedScalar() throws -> Unicode.Scalar {
    guard let letter = next else { throw unknown("a backslash at the end") }
    let controls: [Unicode.Scalar: Unicode.Scalar] = ["n": "\n", "r": "\r", "t": "\t", "f": "\u{c}", "v": "\u{b}"]
    if let control = controls[letter] {
      position += 1
      return control
    }
    if letter == "u" || letter == "x" { return try hexadecimal() }
    guard letter.isASCII, !letter.isWord else { throw unknown(quoted("\\\(letter)")) }
    position += 1
    return letter
  }

  /// `\uXXXX`, `\xXX` or `\x{…}`.
  private mutating func hexadecimal() throws -> Unicode.Scalar {
    let digits: ArraySlice<Unicode.Scalar>
    let end: Int
    if scalars[(position + 1)...].first == "{", let close = scalars[position...].firstIndex(of: "}") {
      digits = scalars[(position + 2)..<close]
      end = close + 1
    } else {
      end = position + (next == "u" ? 5 : 3)
      guard end <= scalars.count else { throw unknown("a number") }
      digits = scalars[(position + 1)..<end]
    }
    guard let value = UInt32(String(scalars: digits), radix: 16), let scalar = Unicode.Scalar(value) else {
      throw unknown("a number")
    }
    position = end
    return scalar
  }
}

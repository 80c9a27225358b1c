import Files

/// A regular expression that finds the pieces of a text, in time proportional to the text.
///
/// All states the expression could be in advance together, in order of preference, so no text makes it backtrack. It
/// prefers as Perl and Oniguruma do: the first alternative that leads to a match, and as much as a quantifier can take.
///
/// Understood are literals, classes with `\p{…}`, `\s`, `\d`, `\w` and their complements, groups, `(?i:…)`,
/// alternatives, `? * + {m,n}` with or without a lazy `?`, and `(?=…)`, `(?!…)` around a single class.
struct Pattern: Sendable {
  /// One step of the compiled expression.
  enum Instruction: Sendable {
    /// Take a scalar of this set.
    case take(ScalarSet)
    /// Go on only if the next scalar is in this set; a negated one also holds at the end of the text.
    case look(ScalarSet, isNegated: Bool)
    /// Go both ways, preferring the first.
    case fork(Int, Int)
    case jump(Int)
    case accept
  }

  let instructions: [Instruction]

  /// - Parameter isWhole: whether a match must reach the end of the text.
  /// - Throws: `FileError` naming what in the expression is not understood.
  init(_ source: String, path: String, place: String, isWhole: Bool = false) throws {
    var parser = PatternParser(source, path: path, place: place)
    let tree = try parser.pattern()
    var compiler = PatternCompiler(path: path, place: place)
    try compiler.emit(tree)
    let end: [Instruction] = isWhole ? [.look(ScalarSet([], isNegated: true), isNegated: true)] : []
    instructions = compiler.instructions + end + [.accept]
  }

  /// Whether a match begins where `text` does.
  func matchesStart(of text: [Unicode.Scalar]) -> Bool {
    var search = Search(self)
    return search.end(in: text[...], from: 0) != nil
  }

  /// The non-overlapping matches in `text`, from the left; empty ones are passed over.
  func matches(in text: ArraySlice<Unicode.Scalar>) -> [Range<Int>] {
    var matches: [Range<Int>] = []
    var search = Search(self)
    var position = text.startIndex
    while position < text.endIndex {
      if let end = search.end(in: text, from: position), end > position {
        matches.append(position..<end)
        position = end
      } else {
        position += 1
      }
    }
    return matches
  }
}

/// The states of one search, kept between matches to save their memory.
private struct Search {
  private let instructions: [Pattern.Instruction]
  private var current: [Int] = []
  private var next: [Int] = []
  private var pending: [Int] = []

  /// For each instruction, the step in which it was last added to a list.
  private var stamps: [Int]
  private var step = 0

  init(_ pattern: Pattern) {
    instructions = pattern.instructions
    stamps = Array(repeating: 0, count: instructions.count)
  }

  /// Where the preferred match that begins at `start` ends; nothing when none begins there.
  mutating func end(in text: ArraySlice<Unicode.Scalar>, from start: Int) -> Int? {
    var end: Int?
    var position = start
    current.removeAll(keepingCapacity: true)
    step += 1
    var following = start < text.endIndex ? text[start] : nil
    Self.add(0, to: &current, following, instructions, &stamps, step, &pending)
    while !current.isEmpty {
      next.removeAll(keepingCapacity: true)
      step += 1
      let scalar = following
      following = position + 1 < text.endIndex ? text[position + 1] : nil
      scan: for index in current {
        switch instructions[index] {
        case .accept:
          // Whatever comes after in the list is less preferred than this match.
          end = position
          break scan
        case .take(let set):
          if let scalar, set.contains(scalar) {
            Self.add(index + 1, to: &next, following, instructions, &stamps, step, &pending)
          }
        case .look, .fork, .jump: break
        }
      }
      swap(&current, &next)
      position += 1
    }
    return end
  }

  /// Adds the states reachable from `index` without taking a scalar, in order of preference.
  private static func add(
    _ index: Int, to list: inout [Int], _ following: Unicode.Scalar?, _ instructions: [Pattern.Instruction],
    _ stamps: inout [Int], _ step: Int, _ pending: inout [Int]
  ) {
    pending.append(index)
    while let index = pending.popLast() {
      guard stamps[index] != step else { continue }
      stamps[index] = step
      switch instructions[index] {
      case .jump(let target): pending.append(target)
      case .fork(let first, let second):
        pending.append(second)
        pending.append(first)
      case .look(let set, let isNegated):
        if (following.map(set.contains) ?? false) != isNegated { pending.append(index + 1) }
      case .take, .accept: list.append(index)
      }
    }
  }
}

/// Turns the tree of an expression into instructions.
private struct PatternCompiler {
  var instructions: [Pattern.Instruction] = []
  private var steps = 0
  private let path: String
  private let place: String

  init(path: String, place: String) {
    self.path = path
    self.place = place
  }

  mutating func emit(_ node: PatternNode) throws {
    steps += 1
    guard steps < 20_000 else { throw FileError(path, at: place, "the regular expression is too large") }
    switch node {
    case .set(let set): instructions.append(.take(set))
    case .look(let set, let isNegated): instructions.append(.look(set, isNegated: isNegated))
    case .sequence(let nodes): for node in nodes { try emit(node) }
    case .choice(let nodes): try emitChoice(nodes)
    case .repeated(let node, let least, let most, let isLazy):
      for _ in 0..<least { try emit(node) }
      if let most {
        try emitOptional(node, count: most - least, isLazy: isLazy)
      } else {
        let fork = reserve()
        try emit(node)
        instructions.append(.jump(fork))
        setFork(fork, to: instructions.count, isLazy: isLazy)
      }
    }
  }

  private mutating func emitChoice(_ nodes: [PatternNode]) throws {
    var jumps: [Int] = []
    for (index, node) in nodes.enumerated() {
      guard index < nodes.count - 1 else {
        try emit(node)
        break
      }
      let fork = reserve()
      try emit(node)
      jumps.append(reserve())
      setFork(fork, to: instructions.count, isLazy: false)
    }
    for jump in jumps { instructions[jump] = .jump(instructions.count) }
  }

  private mutating func emitOptional(_ node: PatternNode, count: Int, isLazy: Bool) throws {
    var forks: [Int] = []
    for _ in 0..<count {
      forks.append(reserve())
      try emit(node)
    }
    for fork in forks { setFork(fork, to: instructions.count, isLazy: isLazy) }
  }

  private mutating func reserve() -> Int {
    instructions.append(.accept)
    return instructions.count - 1
  }

  private mutating func setFork(_ fork: Int, to target: Int, isLazy: Bool) {
    instructions[fork] = isLazy ? .fork(target, fork + 1) : .fork(fork + 1, target)
  }
}

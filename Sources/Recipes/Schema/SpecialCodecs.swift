extension Codec where Value == RecipePath {
  /// A path, or the bare name of a model the caller knows.
  static let model = Codec(type: "a folder, a .gguf file or a known model") { node, context in
    if case .scalar(let text, _) = node.content, context.catalogue.models.contains(text) { return RecipePath(text) }
    return context.path(node)
  } write: {
    path.write($0)
  }
}

extension Codec where Value == [RecipePath] {
  /// A file, or a list of files.
  static let paths: Codec = {
    let (one, many) = (Codec<RecipePath>.path, Codec<RecipePath>.path.list(of: "paths", minimum: 1))
    return Codec(type: "a path or a list of paths") { node, context in
      if case .sequence = node.content { return many.read(node, &context) }
      return one.read(node, &context).map { [$0] }
    } write: { paths in
      paths.count == 1 ? one.write(paths[0]) : paths.isEmpty ? nil : many.write(paths)
    }
  }()
}

extension Codec where Value == [Recipe.Source] {
  /// A file, a list of files, or a list of files with weights.
  static let sources: Codec = {
    let type = "a path, a list of paths, or a list of {path, weight}"
    let weight = Codec<Double>.number("> 0") { $0 > 0 }
    return Codec(type: type) { node, context in
      guard case .sequence(let items) = node.content else {
        if case .mapping = node.content {
          context.expected(type, node, hint: "put the mapping in a list: [{path: …, weight: …}]")
          return nil
        }
        return context.path(node).map { [Recipe.Source($0)] }
      }
      guard !items.isEmpty else {
        context.report("'\(context.key)' is empty", at: node.place, hint: "give \(type)")
        return nil
      }
      let sources = items.compactMap { source($0, weight, &context) }
      return sources.count == items.count ? sources : nil
    } write: { sources in
      let paths = Codec<RecipePath>.path
      if sources.count == 1, sources[0].weight == 1 { return paths.write(sources[0].path) }
      let items = sources.compactMap { source -> RecipeNode? in
        guard let path = paths.write(source.path), let number = weight.write(source.weight) else { return nil }
        return RecipeNode(
          .mapping([
            .init(key: "path", place: Place(), value: path), .init(key: "weight", place: Place(), value: number),
          ]))
      }
      return items.isEmpty ? nil : RecipeNode(.sequence(items))
    }
  }()

  private static func source(
    _ node: RecipeNode, _ weight: Codec<Double>, _ context: inout ReadingContext
  ) -> Recipe.Source? {
    guard case .mapping(let pairs) = node.content else { return context.path(node).map { Recipe.Source($0) } }
    var path: RecipePath?
    var share: Double? = 1
    var isWhole = true
    for pair in pairs {
      switch pair.key {
      case "path":
        path = context.path(pair.value)
        if path == nil { isWhole = false }
      case "weight": share = weight.read(pair.value, &context)
      default:
        let near = NearestName.of(pair.key, among: ["path", "weight"]).map { "did you mean '\($0)'?   " } ?? ""
        context.report(
          "unknown key \(quoted(pair.key)) in an entry of '\(context.key)'", at: pair.place,
          hint: "\(near)valid: path weight")
        isWhole = false
      }
    }
    guard isWhole, let share else { return nil }
    guard let path else {
      context.report("an entry of '\(context.key)' has no path", at: node.place, hint: "add path:")
      return nil
    }
    return Recipe.Source(path, weight: share)
  }
}

extension Codec where Value == Recipe.Targets {
  static let targets: Codec = {
    let type = "a list of names, regex:\"…\" or all-linear"
    let names = Codec<String>.text.list(of: "names", minimum: 1)
    return Codec(type: type) { node, context in
      switch node.content {
      case .sequence: return names.read(node, &context).map { .names($0) }
      case .scalar("all-linear", _): return .allLinear
      case .scalar(let text, _) where text.hasPrefix("regex:"):
        var pattern = text.dropFirst(6)
        if pattern.count >= 2, let quote = pattern.first, quote == "\"" || quote == "'", pattern.last == quote {
          pattern = pattern.dropFirst().dropLast()
        }
        guard !pattern.isEmpty else {
          context.report("'\(context.key)' has no expression after 'regex:'", at: node.place)
          return nil
        }
        return context.checkPattern(String(pattern), at: node.place) ? .regex(String(pattern)) : nil
      case .scalar(let text, _) where text == "all":
        context.expected(type, node, hint: "write all-linear")
      case .scalar(let text, _) where !node.isNull:
        context.expected(type, node, hint: "write [\(text)]")
      default: context.expected(type, node)
      }
      return nil
    } write: { targets in
      switch targets {
      case .names(let list): names.write(list)
      // The quotes protect an expression that is itself in quotes.
      case .regex(let pattern): .text("regex:\"\(pattern)\"")
      case .allLinear: .word("all-linear")
      }
    }
  }()
}

extension Codec where Value == Recipe.Layers {
  static let layers: Codec = {
    let type = "all, last:N or a list of layer numbers"
    let numbers = Codec<Int>.integer(0 ... .max).list(of: "layer numbers", minimum: 1)
    return Codec(type: type) { node, context in
      switch node.content {
      case .sequence: return numbers.read(node, &context).map { .indices($0) }
      case .scalar("all", _): return .all
      case .scalar(let text, _) where text.hasPrefix("last:"):
        if let count = ScalarRules.integer(String(text.dropFirst(5))), count >= 1 { return .last(count) }
      default: break
      }
      context.expected(type, node)
      return nil
    } write: { layers in
      switch layers {
      case .all: .word("all")
      case .last(let count): .word("last:\(count)")
      case .indices(let list): numbers.write(list)
      }
    }
  }()
}

extension Codec where Value == Recipe.Nonfinite {
  static let nonfinite: Codec = {
    let type = "fail or skip_step:N"
    return Codec(type: type) { node, context in
      if case .scalar(let text, _) = node.content {
        if text == "fail" { return .fail }
        if text.hasPrefix("skip_step:"), let count = ScalarRules.integer(String(text.dropFirst(10))), count >= 1 {
          return .skipStep(count)
        }
      }
      context.expected(type, node)
      return nil
    } write: { policy in
      switch policy {
      case .fail: .word("fail")
      case .skipStep(let count): .word("skip_step:\(count)")
      }
    }
  }()
}

extension Codec where Value == Recipe.Start {
  static let start: Codec = {
    let type = "default | gaussian | orthogonal | pissa | pissa_niter_N | olora | eva | loftq"
    return Codec(type: type) { node, context in
      if case .scalar(let text, _) = node.content, let start = Recipe.Start(spelling: text) { return start }
      context.expected(type, node)
      return nil
    } write: {
      .word($0.spelling)
    }
  }()
}

/// Two numbers that only make sense together.
struct NumberPair: Sendable, Equatable {
  var first: Double
  var second: Double
}

extension Codec where Value == NumberPair {
  static let betas: Codec = {
    let type = "two numbers in [0, 1), such as [0.9, 0.999]"
    let numbers = Codec<Double>.number("in [0, 1)") { $0 >= 0 && $0 < 1 }
    return Codec(type: type) { node, context in
      guard case .sequence(let items) = node.content, items.count == 2 else {
        context.expected(type, node)
        return nil
      }
      guard let first = numbers.read(items[0], &context), let second = numbers.read(items[1], &context) else {
        return nil
      }
      return NumberPair(first: first, second: second)
    } write: { pair in
      RecipeNode(.sequence([pair.first, pair.second].compactMap { numbers.write($0) }))
    }
  }()
}

extension Codec where Value == RecipeValue {
  /// Anything, typed by how it is written.
  static let any = Codec(type: "a value") { node, context in
    if node.isNull {
      context.expected("a value", node)
      return nil
    }
    return value(node)
  } write: {
    node($0)
  }

  private static func value(_ node: RecipeNode) -> RecipeValue {
    switch node.content {
    case .scalar(let text, let plain):
      if plain, let boolean = ScalarRules.boolean(text) { return .boolean(boolean) }
      if plain, let integer = ScalarRules.integer(text) { return .integer(integer) }
      if plain, let number = ScalarRules.number(text) { return .number(number) }
      return .text(text)
    case .sequence(let items): return .list(items.map { value($0) })
    case .mapping(let pairs):
      return .map(Dictionary(pairs.map { ($0.key, value($0.value)) }) { first, _ in first })
    }
  }

  private static func node(_ value: RecipeValue) -> RecipeNode {
    switch value {
    case .boolean(let value): .word(value ? "true" : "false")
    case .integer(let value): .word("\(value)")
    case .number(let value): .word("\(value)")
    case .text(let value): .text(value)
    case .list(let values): RecipeNode(.sequence(values.map { node($0) }))
    case .map(let values):
      RecipeNode(
        .mapping(
          values.sorted { $0.key < $1.key }.map { .init(key: $0.key, place: Place(), value: node($0.value)) }))
    }
  }
}

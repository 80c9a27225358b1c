import Files
import Glibc

/// Methods of strings.
enum JinjaStringMethod: String {
  case strip, lstrip, rstrip, split, rsplit, splitlines, startswith, endswith, upper, lower, title, capitalize
  case replace, join, find, count, removeprefix, removesuffix, isdigit, isspace
}

/// Methods of dictionaries.
enum JinjaDictionaryMethod: String { case items, keys, values, get }

/// Methods of lists.
enum JinjaListMethod: String { case index, count }

extension JinjaInterpreter {
  func call(_ function: JinjaFunction, _ arguments: JinjaActualArguments) throws -> JinjaValue {
    let callee = "'\(function.rawValue)'"
    switch function {
    case .range: return try range(arguments)
    case .namespace, .dict:
      var members = arguments.named.map { (key: JinjaValue.string($0.name), value: $0.value) }
      if let first = arguments.positional.first {
        guard arguments.positional.count == 1, case .dictionary(let base) = first else {
          throw fail("\(callee) takes one dictionary and arguments with names")
        }
        members = base.members + members
      }
      guard case .dictionary(let made) = try dictionary(members) else { return .none }
      return function == .dict ? .dictionary(made) : .namespace(JinjaNamespace(made))
    case .strftimeNow:
      guard case .string(let format)? = try bind(["format"], arguments, callee)[0] else {
        throw fail("\(callee) needs a format")
      }
      return .string(try date(format))
    case .raiseException:
      let message = try bind(["message"], arguments, callee)[0].map { try text($0) } ?? "no reason given"
      throw fail("the template refuses these messages: \(message)")
    }
  }

  private func range(_ arguments: JinjaActualArguments) throws -> JinjaValue {
    let numbers = arguments.positional.compactMap(\.index)
    guard arguments.named.isEmpty, numbers.count == arguments.positional.count, (1...3).contains(numbers.count) else {
      throw fail("'range' takes one to three integers")
    }
    let start = numbers.count == 1 ? 0 : numbers[0]
    let stop = numbers.count == 1 ? numbers[0] : numbers[1]
    let stride = numbers.count == 3 ? numbers[2] : 1
    guard stride != 0 else { throw fail("the step of 'range' cannot be 0") }
    var elements: [JinjaValue] = []
    for number in Swift.stride(from: start, to: stop, by: stride) {
      try step()
      elements.append(.integer(number))
    }
    return try list(elements)
  }

  private func date(_ format: String) throws -> String {
    var seconds = time_t(now ?? time(nil))
    var parts = tm()
    guard format.utf8.count <= 256, !format.utf8.contains(0), localtime_r(&seconds, &parts) != nil else {
      throw fail("'strftime_now' cannot use its format")
    }
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = strftime(&buffer, buffer.count, format, &parts)
    return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func call(_ method: JinjaMethod, _ arguments: JinjaActualArguments) throws -> JinjaValue {
    switch method.receiver {
    case .string(let text):
      guard let name = JinjaStringMethod(rawValue: method.name) else { break }
      try spend(text.utf8.count)
      return try call(name, text, arguments)
    case .dictionary(let dictionary):
      guard let name = JinjaDictionaryMethod(rawValue: method.name) else { break }
      return try call(name, dictionary, arguments)
    case .list(let list):
      guard let value = try bind(["value"], arguments, "'\(method.name)'")[0] else {
        throw fail("'\(method.name)' needs an argument")
      }
      try spend(list.elements.count)
      if method.name == "count" { return .integer(list.elements.count { $0.equals(value) }) }
      guard let index = list.elements.firstIndex(where: { $0.equals(value) }) else {
        throw fail("'index' does not find \(value.kindName) in \(method.receiver.kindName)")
      }
      return .integer(index)
    case .loop(let loop): return try call(method.name, loop, arguments)
    default: break
    }
    throw fail("\(method.receiver.kindName) has no method \(quoted(method.name))")
  }

  private func call(_ name: String, _ loop: JinjaLoop, _ arguments: JinjaActualArguments) throws -> JinjaValue {
    if name == "cycle" {
      guard !arguments.positional.isEmpty else { throw fail("'loop.cycle' needs an argument") }
      return arguments.positional[loop.index % arguments.positional.count]
    }
    let seen = JinjaList(arguments.positional)
    let isSame = loop.lastSeen.map { JinjaValue.list($0).equals(.list(seen)) } ?? false
    loop.lastSeen = seen
    return .boolean(!isSame)
  }

  private func call(
    _ name: JinjaDictionaryMethod, _ dictionary: JinjaDictionary, _ arguments: JinjaActualArguments
  ) throws -> JinjaValue {
    switch name {
    case .items: return try list(try dictionary.members.map { try list([$0.key, $0.value], isTuple: true) })
    case .keys: return try list(dictionary.members.map(\.key))
    case .values: return try list(dictionary.members.map(\.value))
    case .get:
      let values = try bind(["key", "default"], arguments, "'get'")
      guard let key = values[0] else { throw fail("'get' needs a key") }
      return dictionary[key] ?? values[1] ?? .none
    }
  }

  private func call(
    _ name: JinjaStringMethod, _ text: String, _ arguments: JinjaActualArguments
  ) throws -> JinjaValue {
    let callee = "'\(name.rawValue)'"
    func string(_ value: JinjaValue?) throws -> String {
      guard case .string(let text)? = value else {
        throw fail("\(callee) needs a string, found \(value?.kindName ?? "nothing")")
      }
      return text
    }
    switch name {
    case .strip, .lstrip, .rstrip:
      let set = try bind(["chars"], arguments, callee)[0]
      let isAbsent = if case .none? = set { true } else { set == nil }
      return .string(
        JinjaScalars.stripped(
          text, of: try isAbsent ? nil : string(set), start: name != .rstrip, end: name != .lstrip))
    case .split, .rsplit: return try split(name, text, arguments)
    case .splitlines:
      var lines = JinjaScalars.split(try replaced(text, "\r\n", "\n", nil), "\n")
      if lines.last == "" { lines.removeLast() }
      return try list(lines.map { .string($0) })
    case .startswith, .endswith:
      let value = try bind(["prefix"], arguments, callee)[0]
      let candidates: [JinjaValue?] = if case .list(let list)? = value { list.elements } else { [value] }
      return .boolean(
        try candidates.contains { candidate in
          let part = try string(candidate)
          return name == .startswith
            ? text.utf8.starts(with: part.utf8) : text.utf8.reversed().starts(with: part.utf8.reversed())
        })
    case .upper: return .string(text.uppercased())
    case .lower: return .string(text.lowercased())
    case .title: return .string(JinjaScalars.titled(text))
    case .capitalize: return .string(JinjaScalars.capitalized(text))
    case .replace:
      let values = try bind(["old", "new", "count"], arguments, callee)
      return .string(try replaced(text, try string(values[0]), try string(values[1]), values[2]?.index))
    case .join:
      let pieces = try iterate(try bind(["iterable"], arguments, callee)[0] ?? .none).map { try string($0) }
      try spend(pieces.reduce(0) { $0 + $1.utf8.count + text.utf8.count })
      return .string(pieces.joined(separator: text))
    case .find:
      let part = try string(try bind(["part"], arguments, callee)[0])
      guard let place = JinjaScalars.places(of: part, in: text, limit: 1).first else { return .integer(-1) }
      return .integer(String(decoding: Array(text.utf8)[..<place], as: UTF8.self).unicodeScalars.count)
    case .count:
      let part = try string(try bind(["part"], arguments, callee)[0])
      guard !part.isEmpty else { return .integer(text.unicodeScalars.count + 1) }
      return .integer(JinjaScalars.places(of: part, in: text).count)
    case .removeprefix:
      let part = try string(try bind(["prefix"], arguments, callee)[0])
      return .string(
        text.utf8.starts(with: part.utf8) ? String(decoding: text.utf8.dropFirst(part.utf8.count), as: UTF8.self) : text
      )
    case .removesuffix:
      let part = try string(try bind(["suffix"], arguments, callee)[0])
      return .string(
        text.utf8.reversed().starts(with: part.utf8.reversed())
          ? String(decoding: text.utf8.dropLast(part.utf8.count), as: UTF8.self) : text)
    case .isdigit:
      return .boolean(!text.isEmpty && text.unicodeScalars.allSatisfy { $0.properties.numericType == .decimal })
    case .isspace: return .boolean(!text.isEmpty && text.unicodeScalars.allSatisfy(\.isJinjaSpace))
    }
  }

  private func split(
    _ name: JinjaStringMethod, _ text: String, _ arguments: JinjaActualArguments
  ) throws -> JinjaValue {
    let values = try bind(["sep", "maxsplit"], arguments, "'\(name.rawValue)'")
    let limit = values[1]?.index.map { $0 < 0 ? .max : $0 } ?? .max
    guard case .string(let separator)? = values[0] else {
      guard limit == .max else { throw fail("'\(name.rawValue)' with a limit needs a separator") }
      let words = text.unicodeScalars.split(whereSeparator: \.isJinjaSpace)
      return try list(words.map { .string(String($0)) })
    }
    guard !separator.isEmpty else { throw fail("'\(name.rawValue)' cannot split at nothing") }
    var pieces = JinjaScalars.split(text, separator, limit: name == .split ? limit : .max)
    if name == .rsplit, limit < pieces.count - 1 {
      let kept = pieces.count - limit
      pieces = [pieces[..<kept].joined(separator: separator)] + pieces[kept...]
    }
    return try list(pieces.map { .string($0) })
  }
}

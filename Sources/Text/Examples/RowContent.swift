import Files

/// What a row asks the model to learn, before it is turned into tokens.
enum RowContent: Equatable {
  case conversation([Message])
  case promptCompletion(prompt: String, completion: String)
  case text(String)
  case ids([Int], labels: [Int]?)
  case classified(String, second: String?, label: String?)
}

/// Reads rows of one format, refusing what does not fit.
struct RowParser {
  let format: ExampleOptions.Format
  let classes: ClassFields

  /// The format that a row's keys speak of; nothing when they speak of none.
  static func format(of row: JSON) -> ExampleOptions.Format? {
    let signs: [(format: ExampleOptions.Format, keys: [String])] = [
      (.chat, ["messages"]), (.sharegpt, ["conversations"]), (.alpaca, ["instruction", "output"]),
      (.promptCompletion, ["prompt", "completion"]), (.ids, ["input_ids"]), (.text, ["text"]),
    ]
    return signs.first { sign in sign.keys.allSatisfy { row[$0] != nil } }?.format
  }

  /// What a row holds.
  ///
  /// - Throws: `RowProblem`.
  func content(of row: JSON) throws -> RowContent {
    guard row.members != nil else { throw RowProblem("expected an object, found \(kind(row))") }
    switch format {
    case .chat, .auto: return .conversation(try turns(row, key: "messages", role: "role", content: "content"))
    case .sharegpt: return .conversation(try turns(row, key: "conversations", role: "from", content: "value"))
    case .promptCompletion:
      return .promptCompletion(prompt: try string(row, "prompt"), completion: try string(row, "completion"))
    case .alpaca:
      let instruction = try string(row, "instruction")
      let input = try row["input"].map { $0.isNull ? "" : try string(row, "input") } ?? ""
      let prompt = input.isEmpty ? instruction : instruction + "\n\n" + input
      return .promptCompletion(prompt: prompt, completion: try string(row, "output"))
    case .text: return .text(try string(row, "text"))
    case .ids:
      let ids = try integers(row, "input_ids")
      let labels = try row["labels"].map { _ in try integers(row, "labels") }
      return .ids(ids, labels: labels)
    case .classification:
      let second = try classes.pair.map { try string(row, $0) }
      return .classified(try string(row, classes.text), second: second, label: try label(row))
    }
  }

  /// A class by its name: text as it is, a whole number or a truth value as JSON writes it.
  private func label(_ row: JSON) throws -> String? {
    let key = classes.label
    guard let value = row[key] else {
      if classes.mayBeUnknown { return nil }
      throw missing(key, row)
    }
    switch value {
    case .string(let name) where !name.isEmpty: return name
    case .integer(let number): return String(number)
    case .bool(let truth): return String(truth)
    default: throw RowProblem("'\(key)' must name a class: text, a whole number, true or false; found \(kind(value))")
    }
  }

  private func string(_ row: JSON, _ key: String) throws -> String {
    guard let value = row[key] else { throw missing(key, row) }
    guard let text = value.string else { throw RowProblem("'\(key)' must be a string, found \(kind(value))") }
    return text
  }

  private func integers(_ row: JSON, _ key: String) throws -> [Int] {
    guard let value = row[key] else { throw missing(key, row) }
    guard let elements = value.array else {
      throw RowProblem("'\(key)' must be a list of integers, found \(kind(value))")
    }
    return try elements.enumerated().map { index, element in
      guard let number = element.int else {
        throw RowProblem("'\(key)' must be a list of integers, found \(kind(element)) at \(index)")
      }
      return number
    }
  }

  private func missing(_ key: String, _ row: JSON) -> RowProblem {
    let keys = (row.members ?? []).map { quoted($0.key) }.sorted().prefix(8).joined(separator: ", ")
    return RowProblem("'\(key)' is missing; the row has \(keys.isEmpty ? "no keys" : keys)")
  }

  private func kind(_ value: JSON) -> String {
    switch value {
    case .null: "null"
    case .bool: "a boolean"
    case .integer, .number: "a number"
    case .string: "a string"
    case .array: "a list"
    case .object, .members: "an object"
    }
  }

  /// The turns of a conversation: system at most once and first, then user and assistant by turns, tools answering
  /// the assistant.
  private func turns(_ row: JSON, key: String, role: String, content: String) throws -> [Message] {
    guard let value = row[key] else { throw missing(key, row) }
    guard let elements = value.array else { throw RowProblem("'\(key)' must be a list, found \(kind(value))") }
    guard !elements.isEmpty else { throw RowProblem("'\(key)' is empty") }
    var messages: [Message] = []
    for (index, element) in elements.enumerated() {
      let place = "message \(index + 1)"
      guard let speaker = element[role] else { throw RowProblem("\(place) has no '\(role)'") }
      guard let speaker = speaker.string else {
        throw RowProblem("\(place): '\(role)' must be a string, found \(kind(speaker))")
      }
      let name = try canonicalRole(speaker, place)
      for unsupported in ["tool_calls", "function_call"] where element[unsupported].map({ !$0.isNull }) ?? false {
        throw RowProblem("\(place): '\(unsupported)' is not supported", remedy: "write the call into '\(content)'")
      }
      guard let said = element[content] else { throw RowProblem("\(place) has no '\(content)'") }
      guard let text = said.string else {
        throw RowProblem("\(place): '\(content)' must be a string, found \(kind(said))")
      }
      guard name != "assistant" || text.unicodeScalars.contains(where: { !$0.isJinjaSpace }) else {
        throw RowProblem("\(place): the assistant says nothing")
      }
      try checkOrder(name, after: messages.last?.role, place)
      messages.append(Message(role: name, content: text))
    }
    return messages
  }

  private func canonicalRole(_ name: String, _ place: String) throws -> String {
    let roles = [
      "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "tool": "tool",
      "observation": "tool",
    ]
    guard let role = roles[name] else {
      throw RowProblem(
        "\(place): unknown role \(quoted(name))", remedy: "roles are system, user, assistant and tool")
    }
    return role
  }

  private func checkOrder(_ role: String, after previous: String?, _ place: String) throws {
    let isInOrder =
      switch role {
      case "system": previous == nil
      case "user": previous != "user"
      case "assistant": previous == "user" || previous == "tool"
      default: previous == "assistant" || previous == "tool"
      }
    guard !isInOrder else { return }
    let position = previous.map { "follows '\($0)'" } ?? "comes first"
    throw RowProblem(
      "\(place): roles are out of order: '\(role)' \(position)",
      remedy: "an optional system turn first, then user and assistant by turns")
  }
}

/// Why a row cannot be used; the reader adds the file and the line.
struct RowProblem: Error {
  let problem: String
  let remedy: String?

  init(_ problem: String, remedy: String? = nil) {
    self.problem = problem
    self.remedy = remedy
  }
}

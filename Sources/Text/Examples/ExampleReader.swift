import Files

/// Makes training examples of the rows of data files, in the order of the file and always the same.
///
///     let reader = try ExampleReader(tokenizer: tokenizer)
///     let (examples, report) = try reader.read("data/train.jsonl")
///     examples[0].labels   // [-100, -100, 905, 2]
///
/// A file is JSON lines, or one JSON array of objects. Conversations, and prompts with their completions, are written by
/// the model's chat template, whose text is tokenized whole. Without a template, conversations name their speakers, and
/// a completion follows its prompt as it stands (after an empty line for `alpaca`), both ended by the end-of-sequence
/// token. Special tokens written out in the data become those tokens.
public struct ExampleReader: Sendable {
  /// How rows become examples.
  public let options: ExampleOptions

  private let tokenizer: Tokenizer
  private let renderer: ConversationRenderer
  private let hasTemplate: Bool

  /// A reader for one model.
  ///
  /// - Parameter template: goes before the tokenizer's own template.
  /// - Throws: `FileError` when the tokenizer's chat template cannot be parsed.
  public init(
    tokenizer: Tokenizer, template: ChatTemplate? = nil, options: ExampleOptions = ExampleOptions()
  ) throws {
    let template = try template ?? tokenizer.chatTemplate.map { try ChatTemplate($0) }
    self.tokenizer = tokenizer
    self.options = options
    hasTemplate = template != nil
    renderer = ConversationRenderer(template: try template ?? .plain(), tokenizer: tokenizer)
  }

  /// All examples of a file, and what became of its rows.
  ///
  /// - Throws: as ``read(_:each:)``.
  public func read(_ path: String) throws -> (examples: [Example], report: ExampleReport) {
    var examples: [Example] = []
    let report = try read(path) { examples.append($0) }
    return (examples, report)
  }

  /// Gives the examples of a file one by one.
  ///
  /// - Throws: `FileError` at the first row that is malformed or that the template refuses; after the last row, for all
  ///   rows that are too long or have no token to predict, where the options say so; and when no example is left.
  public func read(_ path: String, each body: (Example) throws -> Void) throws -> ExampleReport {
    var report = ExampleReport()
    var rows = try DataRows(path, maxRowBytes: options.maxRowBytes)
    var parser: RowParser?
    while let row = try rows.next() {
      report.read += 1
      do {
        let reading = try parser ?? RowParser(format: try format(of: row.value), classes: options.classes)
        parser = reading
        let content = try reading.content(of: row.value)
        let source = row.place.starts(with: "line") ? "\(path):\(row.number)" : "\(path): \(row.place)"
        var example = try example(content, isAlpaca: reading.format == .alpaca, source: source)
        example.task = try options.taskField.map { try task(of: row.value, $0) }
        if let kept = try fitted(example, content, row: row.number, &report) {
          report.kept += 1
          report.tokens += kept.ids.count
          report.supervisedTokens += kept.targets
          try body(kept)
        }
      } catch let problem as RowProblem {
        throw FileError(path, at: row.place, problem.problem, remedy: problem.remedy)
      } catch let failure as FileError where failure.path == renderer.template.path {
        throw FileError(path, at: row.place, failure.description)
      }
    }
    try check(report, path)
    return report
  }

  private func task(of row: JSON, _ field: String) throws -> String {
    guard let task = row[field]?.string, !task.isEmpty else {
      throw RowProblem("'\(field)' names no task", remedy: "give every row its task as text, or remove task_field")
    }
    return task
  }

  private func format(of row: JSON) throws -> ExampleOptions.Format {
    guard options.format == .auto, row.members != nil else { return options.format }
    guard let format = RowParser.format(of: row) else {
      throw RowProblem(
        "the format cannot be told from the keys",
        remedy: "a row has messages, conversations, prompt and completion, instruction and output, text or input_ids")
    }
    return format
  }

  /// The example cut to the longest length allowed; nothing when it is left out.
  private func fitted(
    _ example: Example, _ content: RowContent, row: Int, _ report: inout ExampleReport
  ) throws -> Example? {
    var example = example
    let count = example.ids.count
    report.longest = max(report.longest, count)
    if let limit = options.maxSequenceLength, count > limit {
      switch options.tooLong {
      case .error, .drop:
        report.note(.tooLong, row: row)
        report.dropped += 1
        return nil
      case .truncateLeft, .truncateRight:
        if case .classified(let text, let second, _) = content {
          try cut(&example, text, second, limit)
          break
        }
        let excess = count - max(limit, 0)
        let kept = options.tooLong == .truncateLeft ? excess..<count : 0..<count - excess
        (example.ids, example.labels) = (Array(example.ids[kept]), Array(example.labels[kept]))
      }
      report.note(.truncated, row: row)
    }
    guard example.targets > 0 else {
      report.note(.unsupervised, row: row)
      report.dropped += 1
      return nil
    }
    if example.ids.count < count { report.truncated += 1 }
    return example
  }

  private func check(_ report: ExampleReport, _ path: String) throws {
    guard report.read > 0 else { throw FileError(path, "the file holds no rows") }
    if options.tooLong == .error, let limit = options.maxSequenceLength, report.counts[.tooLong] != nil {
      throw FileError(
        path, at: report.rows(.tooLong),
        "longer than \(limit) tokens (the longest row has \(report.longest))",
        remedy: "raise max_seq_len, or set too_long to drop, truncate_left or truncate_right")
    }
    if options.unsupervised == .error, report.counts[.unsupervised] != nil {
      throw FileError(
        path, at: report.rows(.unsupervised), "no token to predict",
        remedy: "give every row an answer that fits max_seq_len, or drop such rows")
    }
    guard report.kept > 0 else { throw FileError(path, "no example is left: all \(report.read) rows were dropped") }
  }

  private func example(_ content: RowContent, isAlpaca: Bool, source: String) throws -> Example {
    switch content {
    case .conversation(let messages): return try conversation(messages, source)
    case .promptCompletion(let prompt, let completion):
      guard hasTemplate else { return plain(prompt + (isAlpaca ? "\n\n" : ""), completion, source) }
      guard completion.unicodeScalars.contains(where: { !$0.isJinjaSpace }) else {
        return Example(ids: [], labels: [], source: source)
      }
      let messages = [Message(role: "user", content: prompt), Message(role: "assistant", content: completion)]
      return try conversation(messages, source)
    case .text(let text): return plain("", text, source)
    case .ids(let ids, let labels): return try given(ids, labels, source)
    case .classified(let text, let second, let label): return try classified(text, second, label, source)
    }
  }

  private func conversation(_ messages: [Message], _ source: String) throws -> Example {
    // Finding what the assistant says takes time in proportion to the square of the turns: not for a row that goes.
    if let limit = options.maxSequenceLength, messages.count > 64, [.error, .drop].contains(options.tooLong) {
      let ids = tokenizer.encode(try renderer.render(messages), addingSpecialTokens: false)
      if ids.count > limit { return example(ids, ids.map { _ in false }, source) }
    }
    let supervised = try renderer.supervised(messages, options.trainOn)
    let (ids, isSupervised) = supervised.tokens { tokenizer.encode($0, addingSpecialTokens: false) }
    return example(ids, isSupervised, source)
  }

  /// A prompt and its completion as they stand, begun and ended as the tokenizer does.
  private func plain(_ prompt: String, _ completion: String, _ source: String) -> Example {
    let start = prompt.utf8.count
    let learnsAll = options.trainOn == .all
    let supervised = SupervisedText(
      text: prompt + completion,
      spans: prompt.isEmpty && completion.isEmpty ? [] : [(learnsAll ? 0 : start)..<start + completion.utf8.count])
    var (ids, isSupervised) = supervised.tokens { tokenizer.encode($0, addingSpecialTokens: false) }
    if let bos = tokenizer.beginningOfSequence, tokenizer.encode("").first == bos, ids.first != bos {
      ids.insert(bos, at: 0)
      isSupervised.insert(learnsAll || start == 0, at: 0)
    }
    if let eos = tokenizer.endOfSequence, ids.last != eos, !completion.isEmpty {
      ids.append(eos)
      isSupervised.append(true)
    }
    return example(ids, isSupervised, source)
  }

  private func example(_ ids: [Int], _ isSupervised: [Bool], _ source: String) -> Example {
    let ids = ids.map { Int32(truncatingIfNeeded: $0) }
    return Example(
      ids: ids, labels: zip(ids, isSupervised).map { $1 ? $0 : Example.unsupervised }, source: source)
  }

  /// A text, or two, with its class.
  private func classified(_ text: String, _ second: String?, _ label: String?, _ source: String) throws -> Example {
    let labels = options.classes.labels
    let index = label.map { labels.firstIndex(of: $0) ?? -1 }
    guard index != -1 else {
      let known = labels.prefix(16).joined(separator: ", ")
      throw RowProblem("class \(quoted(label ?? "")) is none of those known: \(known)")
    }
    var example = Example(
      ids: [], segments: [], label: index.map(Int32.init) ?? Example.unsupervised, source: source)
    try cut(&example, text, second, nil)
    return example
  }

  /// Gives an example the tokens of its text, or texts, at most `limit` of them, so that the special tokens stay.
  private func cut(_ example: inout Example, _ text: String, _ second: String?, _ limit: Int?) throws {
    let cutsStart = options.tooLong == .truncateLeft
    if let limit, limit <= tokenizer.specialTokenCount(pair: second != nil) {
      throw RowProblem("\(limit) tokens leave no room for text between the special tokens", remedy: "raise max_seq_len")
    }
    let encoded = tokenizer.encode(text, pair: second, limit: limit, cutsStart: cutsStart)
    guard !encoded.ids.isEmpty else { throw RowProblem("the text has no tokens") }
    example.ids = encoded.ids.map(Int32.init)
    example.segments = second == nil ? [] : encoded.segments.map(Int32.init)
  }

  /// The example of one text, or two, whose class is not known.
  ///
  /// - Throws: a `FileError` naming `source` when it has no tokens or more than the options allow.
  public func example(_ text: String, _ second: String?, source: String) throws -> Example {
    let example: Example
    do { example = try classified(text, second, nil, source) } catch let problem as RowProblem {
      throw FileError(source, problem.problem, remedy: problem.remedy)
    }
    if let limit = options.maxSequenceLength, example.ids.count > limit {
      throw FileError(source, "has \(example.ids.count) tokens; the model reads at most \(limit)")
    }
    return example
  }

  /// The names of all classes that the rows of a file name.
  ///
  /// - Throws: `FileError` for a row that names none.
  public func classes(in path: String) throws -> Set<String> {
    var rows = try DataRows(path, maxRowBytes: options.maxRowBytes)
    let parser = RowParser(format: .classification, classes: options.classes)
    var found: Set<String> = []
    while let row = try rows.next() {
      do {
        guard case .classified(_, _, let label?) = try parser.content(of: row.value) else { continue }
        found.insert(label)
      } catch let problem as RowProblem {
        throw FileError(path, at: row.place, problem.problem, remedy: problem.remedy)
      }
    }
    return found
  }

  /// Ids as the row gives them, checked against the vocabulary.
  private func given(_ ids: [Int], _ labels: [Int]?, _ source: String) throws -> Example {
    let count = tokenizer.vocabularySize
    for (index, id) in ids.enumerated() where !(0..<count).contains(id) {
      throw RowProblem("input_ids[\(index)] is \(id), outside the vocabulary of \(count)")
    }
    guard let labels else { return example(ids, ids.map { _ in true }, source) }
    guard labels.count == ids.count else {
      throw RowProblem("\(ids.count) input_ids but \(labels.count) labels")
    }
    for (index, (id, label)) in zip(ids, labels).enumerated() where label != -100 && label != id {
      throw RowProblem(
        "labels[\(index)] is \(label) but input_ids[\(index)] is \(id)",
        remedy: "a label is its own token's id or -100; the loss does the shift")
    }
    return example(ids, labels.map { $0 != -100 }, source)
  }
}

import Files

/// Finds what the assistant says in the text of a conversation.
struct ConversationRenderer {
  let template: ChatTemplate
  let bos: String
  let eos: String

  /// The special tokens written out, longest first, to find the one that ends a turn.
  let specialTokens: [[UInt8]]

  init(template: ChatTemplate, tokenizer: Tokenizer) {
    func written(_ id: Int?) -> String { id.flatMap { tokenizer.token(of: $0) } ?? "" }
    self.template = template
    bos = written(tokenizer.beginningOfSequence)
    eos = written(tokenizer.endOfSequence)
    specialTokens = (0..<tokenizer.vocabularySize)
      .filter { tokenizer.isSpecial($0) }
      .map { Array(written($0).utf8) }
      .filter { !$0.isEmpty }
      .sorted { $0.count > $1.count }
  }

  /// The whole conversation, with the turns of the assistant that are trained on.
  ///
  /// A turn begins where the generation prompt ends and goes to the end of the text up to and with that turn. Both texts
  /// must be beginnings of the whole, or the mask would lie about what the model meets; a row for which they are not is
  /// refused. White space after the turn's last special token belongs to the next turn.
  ///
  /// - Throws: `RowProblem`, and `FileError` when the template refuses.
  func supervised(_ messages: [Message], _ trainOn: ExampleOptions.TrainOn) throws -> SupervisedText {
    let whole = try render(messages)
    guard trainOn != .all else { return SupervisedText(text: whole, spans: [0..<whole.utf8.count]) }
    let bytes = Array(whole.utf8)
    var turns = messages.indices.filter { messages[$0].role == "assistant" }
    if trainOn != .assistant { turns = turns.suffix(1) }
    let spans = try turns.map { turn in
      let start = try prefix(of: bytes, messages[..<turn], addGenerationPrompt: true, turn: turn)
      let end = try prefix(of: bytes, messages[...turn], addGenerationPrompt: false, turn: turn)
      guard start < end else { throw refusal(turn, "leaves nothing of what the assistant says") }
      try checkHeader(bytes[start..<end], messages, turn, start: start)
      return start..<endOfTurn(bytes, start..<end)
    }
    return SupervisedText(text: whole, spans: spans)
  }

  /// The text of the messages.
  func render(_ messages: some Collection<Message>, addGenerationPrompt: Bool = false) throws -> String {
    try template.render(Array(messages), addGenerationPrompt: addGenerationPrompt, bos: bos, eos: eos)
  }

  private func refusal(_ turn: Int, _ problem: String) -> RowProblem {
    RowProblem(
      "message \(turn + 1): the chat template \(problem)",
      remedy: "with train_on: last_assistant only the last answer is trained on, with all every token")
  }

  /// The length of the text of the first messages, which must begin the whole.
  private func prefix(
    of whole: [UInt8], _ messages: ArraySlice<Message>, addGenerationPrompt: Bool, turn: Int
  ) throws -> Int {
    let text = try render(messages, addGenerationPrompt: addGenerationPrompt)
    guard whole.starts(with: text.utf8) else {
      throw refusal(
        turn,
        "writes the conversation up to \(addGenerationPrompt ? "here" : "this answer") differently once it goes on")
    }
    return text.utf8.count
  }

  /// Refuses a template that writes a header before the answer but not as generation prompt: the header would be learned.
  private func checkHeader(_ turn: ArraySlice<UInt8>, _ messages: [Message], _ index: Int, start: Int) throws {
    guard try render(messages[..<index]).utf8.count == start else { return }
    let written = JinjaScalars.stripped(String(decoding: turn, as: UTF8.self), of: nil, end: false)
    let said = JinjaScalars.stripped(messages[index].content, of: nil)
    guard !written.utf8.starts(with: said.utf8) else { return }
    throw RowProblem(
      "message \(index + 1): the chat template ignores add_generation_prompt, so where the answer begins is unknown",
      remedy: "use a template that writes the assistant's header when it is set, or train_on: all")
  }

  /// The end of a turn's last special token when only white space follows it, else the end of the turn.
  private func endOfTurn(_ bytes: [UInt8], _ turn: Range<Int>) -> Int {
    var end = turn.upperBound
    while end > turn.lowerBound, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[end - 1]) { end -= 1 }
    let text = bytes[turn.lowerBound..<end]
    let endsWithToken = specialTokens.contains { token in
      text.count >= token.count && text.suffix(token.count).elementsEqual(token)
    }
    return endsWithToken ? end : turn.upperBound
  }
}

extension ChatTemplate {
  /// How conversations are written for a model that has no template of its own: each turn with its speaker's name, and
  /// the token that ends a sequence after every answer.
  package static func plain() throws -> ChatTemplate {
    try ChatTemplate(
      """
      {{ bos_token }}{% for message in messages %}
      {{ message.role | capitalize }}: {{ message.content }}{% if message.role == 'assistant' %}
      {{ eos_token }}{% endif %}
      {{ '\\n' }}{% endfor %}{% if add_generation_prompt %}
      Assistant:{% endif %}
      """, path: "plain chat template")
  }
}

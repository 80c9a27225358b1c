/// Decodes token ids one by one, as a model makes them.
///
/// A character whose bytes are spread over several tokens is held back until it is whole. The texts, put together, are
/// what ``Tokenizer/decode(_:skippingSpecialTokens:)`` gives for all ids at once.
///
///     var stream = TokenizerStream(tokenizer)
///     for id in ids { print(stream.text(for: id), terminator: "") }
///     print(stream.finish())
public struct TokenizerStream: Sendable {
  private let tokenizer: Tokenizer
  private let skipsSpecialTokens: Bool

  /// The ids of the text given out last, which may decide how the next begins, and those held back.
  private var context: [Int] = []
  private var pending: [Int] = []

  /// How many tokens are held back at most, should each end inside a character.
  private static let limit = 64

  /// A stream that has seen no token.
  public init(_ tokenizer: Tokenizer, skippingSpecialTokens: Bool = true) {
    self.tokenizer = tokenizer
    skipsSpecialTokens = skippingSpecialTokens
  }

  /// Takes the next token and returns the text that is certain now; often empty.
  public mutating func text(for id: Int) -> String {
    if skipsSpecialTokens, tokenizer.isSpecial(id) { return "" }
    pending.append(id)
    let text = newText()
    let isIncomplete = text.unicodeScalars.last == "\u{fffd}" && pending.count < Self.limit
    return isIncomplete ? "" : giveOut(text)
  }

  /// The text still held back, once no more tokens come.
  public mutating func finish() -> String {
    giveOut(newText())
  }

  private func newText() -> String {
    let before = tokenizer.decode(context, skippingSpecialTokens: skipsSpecialTokens)
    let after = tokenizer.decode(context + pending, skippingSpecialTokens: skipsSpecialTokens)
    return String(scalars: after.unicodeScalars.dropFirst(before.unicodeScalars.count))
  }

  private mutating func giveOut(_ text: String) -> String {
    // Tokens without text say nothing about the next; what came before them does.
    context = text.isEmpty ? context + pending : pending
    pending = []
    return text
  }
}

/// How the rows of a data file become examples.
public struct ExampleOptions: Sendable, Equatable {
  /// What a row holds.
  public enum Format: String, Sendable, CaseIterable {
    /// Whatever the first row's keys say; all rows of a file have one format.
    case auto
    /// `messages`, a list of `{role, content}`.
    case chat
    /// `conversations`, a list of `{from, value}`, the speakers being `system`, `human` and `gpt`.
    case sharegpt
    /// `prompt` and `completion`.
    case promptCompletion = "prompt_completion"
    /// `instruction`, perhaps `input`, and `output`.
    case alpaca
    /// `text`.
    case text
    /// `input_ids`, and perhaps `labels`.
    case ids
    /// A text, perhaps a second one, and its class; see ``ExampleOptions/classes``.
    case classification
  }

  /// Which tokens the model is trained to predict. Rows of `text` and `ids` are trained on whole.
  public enum TrainOn: String, Sendable, CaseIterable {
    /// Every turn of the assistant, with the token that ends it.
    case assistant
    /// The last turn of the assistant.
    case lastAssistant = "last_assistant"
    /// What follows the prompt: in a conversation, the last turn of the assistant.
    case completion
    /// Every token.
    case all
  }

  /// What happens to an example of more than ``maxSequenceLength`` tokens.
  public enum TooLong: String, Sendable, CaseIterable {
    /// Reading fails, naming the rows.
    case error
    /// The row is left out.
    case drop
    /// The first tokens are cut off.
    case truncateLeft = "truncate_left"
    /// The last tokens are cut off.
    case truncateRight = "truncate_right"
  }

  /// What happens to an example without a token to predict: fewer than two tokens, or none of them trained on.
  public enum Unsupervised: String, Sendable, CaseIterable {
    /// Reading fails, naming the rows.
    case error
    /// The row is left out.
    case drop
  }

  /// What a row holds.
  public var format = Format.auto

  /// The key of each row's task; nothing where rows have none.
  public var taskField: String?

  /// Which keys hold texts and classes, for the format `classification`.
  public var classes = ClassFields()

  /// Which tokens the model is trained to predict.
  public var trainOn = TrainOn.assistant

  /// The most tokens of an example; nothing for no limit.
  public var maxSequenceLength: Int?

  /// What happens to longer examples.
  public var tooLong = TooLong.error

  /// What happens to examples without a token to predict.
  public var unsupervised = Unsupervised.error

  /// The most bytes of one row.
  public var maxRowBytes = 16 << 20

  /// The defaults: any format, trained on the assistant's turns, no limit on tokens, rows of at most 16 MiB.
  public init() {}
}

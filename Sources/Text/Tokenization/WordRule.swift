import Files

/// A way to cut text into words that GGUF files know by name, under `tokenizer.ggml.pre`.
struct WordRule: Sendable {
  /// The names that stand for it; the first is the one to write.
  let names: [String]

  /// The expressions that cut the text, one after the other.
  let patterns: [String]

  /// Whether a word that is itself a token stays whole.
  var ignoresMerges = false

  /// Whether a file that does not say means that texts begin with a special token.
  var addsBeginning = false

  private static let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
  private static let rest = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  static let all = [
    WordRule(names: ["gpt-2", "phi-2"], patterns: [PreTokenizer.gpt2Pattern]),
    WordRule(
      names: ["smollm", "starcoder", "refact", "command-r", "codeshell"],
      patterns: [#"\p{N}"#, PreTokenizer.gpt2Pattern]),
    WordRule(
      names: ["llama-bpe", "llama3", "llama-v3"],
      patterns: [contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"# + rest], ignoresMerges: true,
      addsBeginning: true),
    WordRule(
      names: ["qwen2", "deepseek-r1-qwen"], patterns: [contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + rest]),
    WordRule(
      names: ["default"],
      patterns: [#"[\p{P}\$\+<=>\^~\|]+"#, PreTokenizer.gpt2Pattern, #"\p{N}+"#, "[0-9][0-9][0-9]"]),
  ]

  /// The rule as the pre-tokenizer of a `tokenizer.json`.
  var preTokenizer: JSON {
    func bytes(_ usesPattern: Bool) -> JSON {
      .object([
        "type": .string("ByteLevel"), "add_prefix_space": .bool(false), "trim_offsets": .bool(true),
        "use_regex": .bool(usesPattern),
      ])
    }
    let steps = patterns.map { pattern in
      switch pattern {
      case PreTokenizer.gpt2Pattern where pattern == patterns.last: bytes(true)
      case #"\p{N}"#: JSON.object(["type": .string("Digits"), "individual_digits": .bool(true)])
      default:
        JSON.object([
          "type": .string("Split"), "pattern": .object(["Regex": .string(pattern)]), "behavior": .string("Isolated"),
          "invert": .bool(false),
        ])
      }
    }
    let all = patterns.last == PreTokenizer.gpt2Pattern ? steps : steps + [bytes(false)]
    return all.count == 1 ? all[0] : .object(["type": .string("Sequence"), "pretokenizers": .array(all)])
  }

  /// The rule that a pre-tokenizer of a `tokenizer.json` follows, if any.
  static func following(_ preTokenizer: JSON?) -> WordRule? {
    guard let preTokenizer, let patterns = patterns(of: preTokenizer), patterns.last == "bytes" else { return nil }
    return all.first { $0.patterns == patterns.dropLast() }
  }

  /// The expressions that a pre-tokenizer applies in turn, and `bytes` where it writes bytes as characters; nothing when
  /// it does anything else.
  private static func patterns(of json: JSON) -> [String]? {
    switch json["type"]?.string {
    case "Sequence":
      guard let steps = json["pretokenizers"]?.array?.map(patterns(of:)), !steps.contains(nil) else { return nil }
      return steps.flatMap { $0 ?? [] }
    case "ByteLevel":
      guard json["add_prefix_space"]?.bool == false else { return nil }
      return (json["use_regex"]?.bool ?? true ? [PreTokenizer.gpt2Pattern] : []) + ["bytes"]
    case "Digits": return json["individual_digits"]?.bool == true ? [#"\p{N}"#] : nil
    case "Split":
      // These expressions match everything, so keeping the matches alone comes to the same as cutting around them.
      let keepsAll = json["behavior"]?.string == "Isolated" && json["invert"]?.bool != true
      let keepsMatches = json["behavior"]?.string == "Removed" && json["invert"]?.bool == true
      return keepsAll || keepsMatches ? json["pattern"]?["Regex"]?.string.map { [$0] } : nil
    default: return nil
    }
  }
}

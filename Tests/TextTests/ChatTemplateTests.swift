import Files
import Testing
import Text

/// One rendering by jinja2; made by `Tests/Fixtures/templates/make.py`.
struct TemplateCase: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let source: String
  let variables: [String: JSON]

  /// What jinja2 printed; nothing when it refused.
  let output: String?

  private static let file = (try? JSON.read(TokenizerFixture.folder + "/templates/cases.json")) ?? .null

  static let conversations: [TemplateCase] = (file["cases"]?.array ?? []).map { json in
    let name = json["template"]?.string ?? ""
    return TemplateCase(
      testDescription: "\(name), \(json["conversation"]?.string ?? ""), \(json["variant"]?.string ?? "")",
      source: (try? TokenizerFixture.text("/templates/\(name)")) ?? "", variables: json["variables"]?.object ?? [:],
      output: json["output"]?.string)
  }

  static let snippets: [TemplateCase] = (file["snippets"]?.array ?? []).map { json in
    let source = json["source"]?.string ?? ""
    return TemplateCase(
      testDescription: source.debugDescription, source: source, variables: file["variables"]?.object ?? [:],
      output: json["output"]?.string)
  }
}

@Suite struct ChatTemplateTests {
  @Test func `The tables of renderings are there`() {
    #expect(TemplateCase.conversations.count == 120)
    #expect(TemplateCase.snippets.count == 67)
  }

  @Test(arguments: TemplateCase.conversations + TemplateCase.snippets)
  func `A template prints what jinja2 prints and refuses what it refuses`(_ specimen: TemplateCase) throws {
    guard let output = specimen.output else {
      #expect(throws: FileError.self) { try ChatTemplate(specimen.source).render(specimen.variables) }
      return
    }
    let rendered = try ChatTemplate(specimen.source).render(specimen.variables)
    // Compared as bytes: Swift calls texts equal that differ only in how a letter is composed.
    #expect(Array(rendered.utf8) == Array(output.utf8), "\(rendered.debugDescription)")
  }

  @Test func `SmolLM2's template writes the conversation that transformers writes`() throws {
    let file = try JSON.read(TokenizerFixture.folder + "/smollm2/tokenizer_cases.json")
    let source = try #require(try TokenizerFixture.smol.get().chatTemplate)
    let messages = [Message(role: "user", content: "What is LoRA?")]
    let text = try ChatTemplate(source).render(messages, addGenerationPrompt: true, bos: "<s>", eos: "</s>")
    #expect(text == file["chat_template_output"]?.string)
  }

  @Test func `Messages, the prompt flag, the tokens and further variables reach the template`() throws {
    let source =
      "{{ bos_token }}{{ messages | tojson }}{{ add_generation_prompt }}{{ eos_token }}{{ extra.a }}{{ tools is none }}"
    let template = try ChatTemplate(source)
    let text = try template.render(
      [Message(role: "user", content: "x")], addGenerationPrompt: true, bos: "<b>", eos: "<e>",
      extra: ["extra": .object(["a": .integer(3)])])
    #expect(text == "<b>[{\"role\": \"user\", \"content\": \"x\"}]True<e>3True")
    let none = try ChatTemplate("{{ tools }}{{ documents }}").render([], addGenerationPrompt: false, bos: "", eos: "")
    #expect(none == "NoneNone")
    let tools = try ChatTemplate("{{ tools }}").render(
      [], addGenerationPrompt: false, bos: "", eos: "", extra: ["tools": .array([.string("t")])])
    #expect(tools == "['t']")
  }

  @Test func `A template tells the time it is given`() throws {
    var template = try ChatTemplate("{{ strftime_now('%Y') }}")
    template.now = 1_000_000_000  // 9 September 2001, in every time zone
    #expect(try template.render([:]) == "2001")
  }

  @Test(
    arguments: [
      ("a\n{{ x | upperr }}", "t:2: filter 'upperr' is not supported; did you mean 'upper'?"),
      ("{{ x is strung }}", "t:1: test 'strung' is not supported; did you mean 'string'?"),
      (
        "\n\n{% include 'x' %}",
        "t:3: tag 'include' is not supported; tags are if, for, set, macro, generation, break and continue"
      ),
      ("{% if x %}\n", "t:1: tag 'if' is not closed"),
      ("{% for x in y %}{% endif %}", "t:1: tag 'endif' closes nothing that was opened"),
      ("{{ x", "t:1: the tag is not closed by '}}'"),
      ("x {# y", "t:1: the comment is not closed by '#}'"),
      ("{{ 'x }}", "t:1: the string is not closed"),
      ("{{ (1, 2 }}", "t:1: '}' closes nothing that was opened"),
      ("{{ 1 + }}", "t:1: expected a value, found '}}'"),
      ("{{ a b }}", "t:1: expected '}}', found 'b'"),
      ("{{ a ? b }}", "t:1: unexpected character '?'"),
      ("{% break %}", "t:1: 'break' stands outside a for loop"),
      ("{% set true = 1 %}", "t:1: 'true' cannot be assigned to"),
      ("{{ f(*x) }}", "t:1: arguments with * or ** are not supported"),
      ("{{ 99999999999999999999 }}", "t:1: the number '99999999999999999999' is too large"),
    ])
  func `A mistake in a template is told with its line`(_ source: String, _ message: String) {
    let error = #expect(throws: FileError.self) { try ChatTemplate(source, path: "t") }
    #expect(error?.description == message)
  }

  @Test(
    arguments: [
      ("\n{{ nope(1) }}", "t:2: 'nope' is undefined and cannot be called"),
      ("{{ m.k.r }}", "t:1: attribute 'k' of a dictionary is undefined, so it has no attribute 'r'"),
      ("{{ 'a'.zfill(3) }}", "t:1: attribute 'zfill' of a string is undefined and cannot be called"),
      ("{{ raise_exception('Roles!') }}", "t:1: the template refuses these messages: Roles!"),
      ("{{ 'a' + 1 }}", "t:1: '+' does not work on a string and an integer"),
      ("{{ 9223372036854775807 + 1 }}", "t:1: the result of '+' is out of range"),
      ("{{ 1 % 0 }}", "t:1: division by zero"),
      ("{{ 'a' | trim(1, 2) }}", "t:1: filter 'trim' takes at most 1 arguments, found 2"),
      ("{{ 'a' | join(x=2) }}", "t:1: filter 'join' has no argument 'x'"),
      ("{{ range(1, 9, 0) }}", "t:1: the step of 'range' cannot be 0"),
      ("{{ 'abc'[::0] }}", "t:1: the step of a slice cannot be 0"),
      ("{{ missing | tojson }}", "t:1: 'missing' is undefined and cannot be written as JSON"),
    ])
  func `What goes wrong while rendering is told with its line`(_ source: String, _ message: String) throws {
    let template = try ChatTemplate(source, path: "t")
    let error = #expect(throws: FileError.self) { try template.render(["m": .object([:])]) }
    #expect(error?.description == message)
  }

  @Test(
    arguments: [
      (
        "{% for a in range(2000) %}{% for b in range(2000) %}{% endfor %}{% endfor %}",
        "t:1: the template takes more than 1000000 steps"
      ),
      ("{{ range(10000000) | length }}", "t:1: the template takes more than 1000000 steps"),
      ("{{ 'x' * 9223372036854775807 }}", "t:1: the template makes more than 268435456 bytes of text"),
      ("{{ 'xx' * 9223372036854775807 }}", "t:1: the template makes more than 268435456 bytes of text"),
      (
        "{% set n = namespace(s='0123456789') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "t:1: the template makes more than 268435456 bytes of text"
      ),
      ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "t:1: the template runs more than 600 levels deep"),
      (
        "{% set n = namespace(s=1) %}{% for i in range(999) %}{% set n.s = [n.s] %}{% endfor %}",
        "t:1: a list cannot be stored in a namespace: it is nested too deep"
      ),
      (
        "{% set n = namespace() %}{% set n.self = n %}",
        "t:1: a namespace cannot be stored in a namespace: it is nested too deep"
      ),
      ("{% set n = namespace() %}{{ [n] }}", "t:1: a namespace cannot be stored in another value"),
    ])
  func `A hostile template ends with an error`(_ source: String, _ message: String) throws {
    let template = try ChatTemplate(source, path: "t")
    let error = #expect(throws: FileError.self) { try template.render([:]) }
    #expect(error?.description == message)
  }

  @Test(
    arguments: [
      ("", "("), ("", "["), ("", "not "), ("", "-"), ("1", " + 1"), ("x", ".x"), ("x", "[0]"), ("", "1 if 1 else "),
      ("x", " | trim"), ("x", " and x"), ("x", "()"),
    ])
  func `A deep expression is refused, not followed to the end of the stack`(_ start: String, _ part: String) {
    let expression = start + String(repeating: part, count: 50_000)
    let error = #expect(throws: FileError.self) { try ChatTemplate("{{ \(expression) }}") }
    #expect(error?.problem == "expressions are nested more than 200 deep" || part == "(" || part == "[")
  }

  @Test func `Deep tags and long templates are refused`() {
    #expect(throws: FileError.self) { try ChatTemplate(String(repeating: "{% if 1 %}", count: 10_000)) }
    #expect(throws: FileError.self) { try ChatTemplate(String(repeating: "x", count: 1_048_577)) }
  }

  @Test func `A template cut off anywhere is refused or renders, and never traps`() throws {
    let source = try TokenizerFixture.text("/templates/thoughts.jinja")
    for end in 0..<source.unicodeScalars.count {
      let start = String(String.UnicodeScalarView(source.unicodeScalars.prefix(end)))
      _ = try? ChatTemplate(start).render(
        [Message(role: "user", content: "x")], addGenerationPrompt: true, bos: "", eos: "")
    }
  }
}

import Files
import Testing

struct FileErrorTests {
  @Test(arguments: [
    (FileError("a.json", "is empty"), "a.json: is empty"),
    (FileError("a.json", line: 7, column: 3, "duplicate key 'rank'"), "a.json:7:3: duplicate key 'rank'"),
    (FileError("a.jsonl", line: 7, "is not an object", remedy: "remove it"), "a.jsonl:7: is not an object; remove it"),
    (FileError("a.json", at: "line 7, column 3", "x"), "a.json:7:3: x"),
    (FileError("a.json", at: "line up", "x"), "a.json: line up: x"),
    (FileError("a.gguf", at: "tensor 'w'", "is there twice"), "a.gguf: tensor 'w': is there twice"),
  ])
  func `An error reads as one sentence`(_ error: FileError, _ text: String) {
    #expect(error.description == text)
  }

  @Test func `A long name is shortened and cannot break the line`() {
    let name = "a\nb" + String(repeating: "x", count: 10_000_000)
    #expect(quoted(name) == "'a\u{fffd}b" + String(repeating: "x", count: 77) + "…'")
  }

  @Test(arguments: [
    ("tagrets", "targets"), ("lora_A.wieght", "lora_A.weight"), ("completely different", nil), ("", nil),
  ])
  func `Only a near name is suggested`(_ name: String, _ expected: String?) {
    #expect(nearest(to: name, among: ["rank", "targets", "lora_A.weight", "lora_B.weight"]) == expected)
  }
}

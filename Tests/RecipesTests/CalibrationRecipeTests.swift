import Testing

@testable import Recipes

@Test(arguments: [
  "default", "gaussian", "orthogonal", "pissa", "pissa_niter_0", "pissa_niter_16", "olora", "eva", "loftq",
])
func `A start is read as it is written`(_ spelling: String) throws {
  #expect(try #require(Recipe.Start(spelling: spelling)).spelling == spelling)
  let more = spelling == "loftq" ? "quantization: {packing: nf4}" : ""
  let recipe = try parse(small(more, adapter: "type: lora, init: \(spelling)"))
  #expect(recipe.adapter.initialization.spelling == spelling)
  #expect(recipe.resolvedYAML(toolVersion: "1", hashes: [:]).contains("  init: \(spelling)  "))
}

@Test func `A start of no meaning is refused where it stands`() {
  let expected =
    "'adapter.init' must be default | gaussian | orthogonal | pissa | pissa_niter_N | olora | eva | loftq; found the string"
  for word in ["psisa", "pissa_niter_", "pissa_niter_-1", "pissa_niter_1e3", "pissa_niter_1001", "loftq:nf4"] {
    let found = mistakes(small(adapter: "type: lora, init: '\(word)'"))
    #expect(found == ["3:30: \(expected) '\(word)'"])
  }
  #expect(
    mistakes(small(adapter: "type: lora, init: loftq")) == [
      "3:24: 'adapter.init' loftq starts from what packing the base loses, and nothing packs it [give quantization.packing, such as nf4]"
    ])
}

@Test func `The calibration section has its defaults, and comes back from the resolved form`() throws {
  #expect(try parse(small()).calibration == nil)
  let recipe = try parse(small("calibration: {data: c.jsonl, statistics: s.h5}"))
  let section = try #require(recipe.calibration)
  #expect(section.maxRows == 256)
  #expect(section.data?.path == "/home/ada/c.jsonl" && section.statistics?.path == "/home/ada/s.h5")
  let resolved = recipe.resolvedYAML(toolVersion: "1", hashes: [:])
  #expect(try Recipe.parse(resolved, path: "/elsewhere/r.yaml") == recipe)
  #expect(
    mistakes(small("calibration: {max_rows: 0}")) == [
      "5:25: 'calibration.max_rows' must be a whole number from 1 to 1048576; found the number 0"
    ])
}

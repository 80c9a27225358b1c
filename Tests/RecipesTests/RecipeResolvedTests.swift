import Testing

@testable import Recipes

private let recipes: [(String, [String])] = [
  (goodRecipe, []), (goodRecipe, ["~quantization", "max_steps=7", "scale=2"]), (small(), []),
  (small("merge: {}\nexport: {peft: 'a ${output_dir} b'}\nquantization: {packing: nf4, double_quant: true}"), []),
  (small("train: {optimizer: sgd, momentum: 0.9, nesterov: true, warmup_ratio: 0.1}"), []),
  (small(model: "init: {tokenizer: t}", adapter: "type: full"), []),
  (
    small(
      "name: 'no'\nlayers: [0, 2]\nlora_target: 'regex:(\"q\"|v)\\d'\neval: {samples: {prompts: ['é \"x\"', '~']}}"), []
  ),
  (small("name: \"a$${b} # c: \\a\"\nlr: 5e-324\nseed: 9223372036854775807"), []),
  (small(data: "train: ['a$${HOME}', {path: \"tab\\t\\u2028\", weight: 0.1}]"), []),
]

@Test(arguments: recipes)
func `Reading the resolved form gives the same recipe`(_ text: String, _ overrides: [String]) throws {
  let recipe = try parse(text, overrides)
  let resolved = recipe.resolvedYAML(toolVersion: "0.1.0", hashes: ["model": "sha256:00\n11"])
  let again = try Recipe.parse(resolved, path: "/elsewhere/resolved.yaml")
  #expect(again == recipe)
  let lines = { (text: String) in text.split(separator: "\n").map { $0.prefix { $0 != "#" } } }
  #expect(lines(again.resolvedYAML(toolVersion: "0.1.0", hashes: ["model": "sha256:00 11"])) == lines(resolved))
}

@Test func `The resolved form says where each value came from`() throws {
  let resolved = try parse(small("lora_r: 4"), ["lr=1e-3"]).resolvedYAML(toolVersion: "1", hashes: ["data": "abc"])
  #expect(
    resolved.hasPrefix("# Resolved by graft 1: every key, its value, and where the value came from.\n# data: abc\n"))
  for line in [
    "  rank: 4                                   # recipe:5",
    "  learning_rate: 0.001                      # command line",
    "  batch_size: 4                             # default", "# merge: not set", "  # max_steps: not set",
  ] {
    #expect(resolved.split(separator: "\n").contains(Substring(line)), "\(line) in \(resolved)")
  }
}

@Test func `A changed recipe resolves or is refused, and never traps`() {
  // A linear congruential generator, so that the mutants are the same on every machine.
  var state: UInt64 = 2024
  func random(_ bound: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int((state >> 33) % UInt64(bound))
  }
  let good = Array(goodRecipe.utf8)
  let pieces: [[UInt8]] = [
    "\n", "  ", ": ", "[", "]", "{", "}", "\"", "'", "&a ", "*a", "- ", "? ", "|", "\t", "~", "1e999", "!x ",
  ]
  .map { Array($0.utf8) }
  for _ in 0..<300 {
    var mutant = good
    for _ in 0...random(4) {
      let place = random(mutant.count)
      switch random(5) {
      case 0: mutant[place] = UInt8(random(256))
      case 1: mutant.removeSubrange(place..<min(mutant.count, place + 1 + random(30)))
      case 2: mutant.insert(contentsOf: pieces[random(pieces.count)], at: place)
      case 3: mutant.insert(contentsOf: mutant[place..<min(mutant.count, place + 40)], at: random(mutant.count))
      default: mutant.swapAt(place, random(mutant.count))
      }
    }
    let text = String(decoding: mutant, as: UTF8.self)
    do {
      let recipe = try parse(text)
      let again = try Recipe.parse(recipe.resolvedYAML(toolVersion: "1", hashes: [:]), path: "/r.yaml")
      #expect(again == recipe, "\(text)")
    } catch let error as RecipeError {
      #expect(!error.problems.isEmpty)
    } catch {
      Issue.record("another error: \(error)")
    }
  }
}

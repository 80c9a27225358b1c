import Testing

@testable import Recipes

@Test(arguments: [
  (["adapter.rank=4"], "adapter.rank", "4"), (["lora_r=4"], "adapter.rank", "4"), (["rank=4"], "adapter.rank", "4"),
  (["learning_rate=1e-4"], "train.learning_rate", "0.0001"), (["train.lr=1e-4"], "train.learning_rate", "0.0001"),
  (["name=a=b"], "name", "\"a=b\""), (["name=foo: bar # baz"], "name", "\"foo: bar # baz\""),
  (["skip+=x"], "quantization.skip", "[lm_head, embed_tokens, x]"),
  (["skip+=[x, z]"], "quantization.skip", "[lm_head, embed_tokens, x, z]"),
  (["target_modules=[a, b]"], "adapter.target_modules", "[a, b]"),
  (["layers=last:2"], "adapter.layers", "last:2"), (["~adapter.rank"], "adapter.rank", "8"),
  (["early_stopping.patience=9"], "train.early_stopping.patience", "9"),
  (["train={lr: 1.0}"], "train.learning_rate", "1.0"), (["rank=4", "rank=2"], "adapter.rank", "2"),
])
func `An override wins over the recipe`(_ overrides: [String], _ key: String, _ value: String) throws {
  let recipe = try parse(goodRecipe, overrides)
  #expect(Schema.keysByPath[key]?.write(recipe)?.yaml == value)
  #expect(recipe.origin(of: key) == (overrides[0].hasPrefix("~") ? .default : .commandLine))
}

@Test func `An override removes the recipe's key that it excludes`() throws {
  let recipe = try parse(goodRecipe, ["max_steps=3", "scale=2.5"])
  #expect(recipe.train.epochs == nil)
  #expect(recipe.adapter.alpha == nil)
}

@Test func `A section can be removed whole`() throws {
  let recipe = try parse(goodRecipe, ["~quantization", "~merge", "~early_stopping"])
  #expect(recipe.quantization == nil)
  #expect(recipe.merge == nil)
  #expect(recipe.train.earlyStopping == nil)
}

@Test(arguments: [
  ("learning_raet=1", "unknown key 'learning_raet' [did you mean 'train.learning_rate'?]"),
  (
    "every_steps=3",
    "'every_steps' could be one of several keys "
      + "[write one of: eval.every_steps save.every_steps log.every_steps]"
  ),
  ("rank", "an override is key=value, key+=value or ~key"),
  ("rank=", "'rank' has no value [write ~rank to remove it]"),
  ("rank+=3", "'adapter.rank' is not a list, so '+=' cannot add to it [write adapter.rank=…]"),
  ("rank=x", "'adapter.rank' must be a whole number from 1 to 65536; found the string 'x'"),
  (
    "train=x.jsonl",
    "'train' must be a mapping of keys to values; found the string 'x.jsonl' "
      + "[did you mean 'data.train'?]"
  ),
  ("~rnak", "unknown key 'rnak' [did you mean 'adapter.rank'?]"),
  ("epochs=2 max_steps", "'train.epochs' must be a number > 0; found the string '2 max_steps'"),
])
func `A mistaken override starts nothing`(_ argument: String, _ mistake: String) {
  #expect(mistakes(goodRecipe, [argument]) == ["'\(argument)': \(mistake)"])
}

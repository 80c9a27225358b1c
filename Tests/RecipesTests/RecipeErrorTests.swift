import Testing

@testable import Recipes

@Test func `A report has one paragraph a mistake and a count`() {
  let text = """
    output_dir: out
    model: { path: m }
    adapter:
      type: lora
      lora_rnak: 8
    data:
      train: d.jsonl
    train:
      batch_size: 2.5
    """
  do {
    _ = try parse(text, ["learning_raet=1"])
    Issue.record("read without a mistake")
  } catch {
    #expect(
      "\(error)" == """
        error: /home/ada/recipe.yaml:5:3: unknown key 'lora_rnak' in 'adapter'
          did you mean 'rank' (alias lora_rank)?   valid: type from rank alpha scale dropout rslora target_modules \
        layers rank_pattern alpha_pattern bias modules_to_save init
        error: /home/ada/recipe.yaml:9:15: 'train.batch_size' must be a whole number from 1 to 1048576; \
        found the number 2.5
        error: command line 'learning_raet=1': unknown key 'learning_raet'
          did you mean 'train.learning_rate'?
        3 errors; nothing was started.
        """)
  }
}

@Test(arguments: [
  ("train: {learning_rate: fast}", "5:24: 'train.learning_rate' must be a number ≥ 0; found the string 'fast'"),
  (
    "train: {learning_rate: '1e-4'}",
    "5:24: 'train.learning_rate' must be a number ≥ 0; found the string '1e-4' [remove the quotes]"
  ),
  ("train: {learning_rate: -1}", "5:24: 'train.learning_rate' must be a number ≥ 0; found the number -1"),
  (
    "train: {learning_rate: .inf}",
    "5:24: 'train.learning_rate' must be a number ≥ 0; found the string '.inf' [only finite numbers are allowed]"
  ),
  (
    "train: {max_steps: 1_000}",
    "5:20: 'train.max_steps' must be a whole number ≥ 0; found the string '1_000' [write 1000]"
  ),
  (
    "seed: 0o10",
    "5:7: 'seed' must be a whole number ≥ 0; found the string '0o10' [write it in decimal, without a leading zero]"
  ),
  (
    "seed: 010",
    "5:7: 'seed' must be a whole number ≥ 0; found the string '010' [write it in decimal, without a leading zero]"
  ),
  ("lora_r: 0", "5:9: 'adapter.rank' must be a whole number from 1 to 65536; found the number 0"),
  ("lora_dropout: 1", "5:15: 'adapter.dropout' must be a number in [0, 1); found the number 1"),
  (
    "log: {plot: no}",
    "5:13: 'log.plot' must be true or false; found the string 'no' "
      + "[write false; only the words true and false are truth values here]"
  ),
  (
    "log: {plot: on}",
    "5:13: 'log.plot' must be true or false; found the string 'on' "
      + "[write true; only the words true and false are truth values here]"
  ),
  ("lora_r: [8]", "5:9: 'adapter.rank' must be a whole number from 1 to 65536; found a list"),
  ("lora_r:", "5:1: 'adapter.rank' has no value [remove the key for its default, 8]"),
  (
    "train: 3",
    "5:8: 'train' must be a mapping of keys to values; found the number 3 "
      + "[valid: epochs max_steps batch_size gradient_accumulation_steps learning_rate lr_schedule warmup_ratio "
      + "warmup_steps optimizer betas epsilon momentum nesterov role_rates weight_decay max_grad_norm "
      + "activation_checkpointing "
      + "threads memory_limit_gb on_nonfinite early_stopping]"
  ),
  (
    "train: {optimizer: adam}",
    "5:20: 'train.optimizer' must be adamw | sgd; found the string 'adam' [did you mean 'adamw'?]"
  ),
  (
    "lora_target: q_proj",
    "5:14: 'adapter.target_modules' must be a list of names, regex:\"…\" or all-linear; "
      + "found the string 'q_proj' [write [q_proj]]"
  ),
  (
    "version: 2",
    "5:10: this recipe is of version 2; this release reads version 1 "
      + "[use a newer release, or write the recipe for version 1]"
  ),
  (
    "batch_size: 3",
    "5:1: key 'batch_size' at the top could be one of several "
      + "[write one of: train.batch_size eval.batch_size]"
  ),
  (
    "save: {plot: true}",
    "5:8: unknown key 'plot' in 'save' [did you mean 'log.plot'?   valid: every_steps keep_last keep_best]"
  ),
  (
    "train: {epochs: 2, max_steps: 3}",
    "5:20: 'train.max_steps' and 'train.epochs' (line 5) exclude each other "
      + "[remove one of them]"
  ),
  (
    "zebra: 2",
    "5:1: unknown key 'zebra' [valid: version name seed output_dir model "
      + "quantization adapter data calibration train objective eval save log merge export]"
  ),
  (
    "val_size: 0.1\nquantization: {packing: nf4, group_size: 64}",
    "6:30: 'quantization.group_size' belongs to the int packings; nf4 has a fixed block [remove it]"
  ),
  (
    "train: {early_stopping: {patience: 2}}",
    "5:9: 'train.early_stopping' watches eval_loss, but nothing is evaluated "
      + "[give data.eval or data.eval_fraction, or watch train_loss]"
  ),
  ("save: {every_steps: 0}", "5:21: 'save.every_steps' must be a whole number ≥ 1; found the number 0"),
  (
    "train: {momentum: 0.9}",
    "5:9: 'train.momentum' belongs to optimizer sgd; this recipe trains with adamw [remove it]"
  ),
  (
    "export: {gguf_type: f16}",
    "5:1: 'export' names no file to write "
      + "[give gguf, gguf_lora or peft, or remove the section]"
  ),
  (
    "quantization: {skip: [a]}",
    "5:1: 'quantization.packing' is missing "
      + "[it needs a packing, such as int4: how weights are packed]"
  ),
  ("merge: {output: ~/x}", "5:17: 'merge.output' starts with '~', which is not filled in [write ${env:HOME}/x]"),
  ("merge: {output: '${env:NOPE}/x'}", "5:17: 'merge.output' needs the environment variable 'NOPE', which is not set"),
  (
    "merge: {output: '${seed}/x'}",
    "5:17: '${seed}' in 'merge.output' is not known "
      + "[valid: ${env:NAME} ${output_dir}   a literal: $${]"
  ),
])
func `A mistake is told where it stands, with its remedy`(_ line: String, _ mistake: String) {
  #expect(mistakes(small(line)) == [mistake])
}

@Test(arguments: [
  ("", ["1:1: the recipe is empty [it needs output_dir, model.path, adapter.type and data.train]"]),
  ("# only this\n", ["1:1: the recipe is empty [it needs output_dir, model.path, adapter.type and data.train]"]),
  (
    "- a\n- b\n",
    [
      "1:1: a recipe is a mapping of keys to values; found a list "
        + "[it needs output_dir, model.path, adapter.type and data.train]"
    ]
  ),
  ("\u{FEFF}seed: 1", ["1:1: the recipe starts with a byte order mark [save it as UTF-8 without one]"]),
  ("train:\n\tepochs: 1\n", ["2:1: a tab where only spaces can stand [indent with spaces]"]),
  ("seed: 1\nname: a\nseed: 2\n", ["3:1: key 'seed' is given twice; first on line 1 [remove one of them]"]),
  ("train: {lr: 1, lr: 2}", ["1:9: key 'lr' is given twice [remove one of them]"]),
  ("a: &a {b: 1}\nc: {<<: *a}\n", ["2:5: merge keys ('<<') are not part of a recipe [write the keys out]"]),
  ("seed: !!int \"3\"", ["1:7: tag 'tag:yaml.org,2002:int' is not part of a recipe [write the value without '!']"]),
  ("a: 1\n---\nb: 1\n", ["2:1: a second document starts here; a recipe is one"]),
  ("{[a]: 1}", ["1:2: a key must be a name; found a list"]),
  (
    "seed: 1",
    [
      "1:1: 'output_dir' is missing [it needs a path: where everything the run makes is written]",
      "1:1: 'model.path' is missing [it needs a folder, a .gguf file or a known model: the base model, "
        + "unless init is given]",
      "1:1: 'adapter.type' is missing [it needs an adapter type, such as lora: the method]",
      "1:1: 'data.train' is missing "
        + "[it needs a path, a list of paths, or a list of {path, weight}: rows to learn from]",
    ]
  ),
])
func `A text that is no recipe is told in one line`(_ text: String, _ expected: [String]) {
  #expect(mistakes(text) == expected)
}

@Test func `Two spellings of one key with two values name both lines`() {
  #expect(
    mistakes(small("lora_r: 4\nr: 8")) == [
      "6:1: 'r' sets 'adapter.rank' a second time, to another value; first as 'lora_r' on line 5 [remove one of them]"
    ])
}

@Test func `Alpha and scale exclude each other`() {
  #expect(
    mistakes(small(adapter: "type: lora, alpha: 4, scale: 1")) == [
      "3:34: 'adapter.scale' and 'adapter.alpha' (line 3) exclude each other [remove one of them]"
    ])
}

@Test func `A file that is not there is told without a line`() {
  #expect(throws: RecipeError([.init(line: 0, column: 0, message: "no such file or directory")], path: "/none.yaml")) {
    try Recipe.read("/none.yaml")
  }
}

@Test func `Hostile texts are refused in bounded time`() {
  let levels = (1...9).map { level in
    "k\(level): &k\(level) [" + Array(repeating: "*k\(level - 1)", count: 9).joined(separator: ", ") + "]"
  }
  let bomb = "k0: &k0 [x, x]\n" + levels.joined(separator: "\n")
  #expect(mistakes(bomb).first?.hasPrefix("3:") == true)
  #expect(mistakes(bomb).count == 1)
  let small = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
  let chain = ["b: &b [*a, *a, *a]", "c: &c [*b, *b, *b]", "d: &d [*c, *c, *c]", "? *d\n: 1"]
  #expect(mistakes(small + chain.joined(separator: "\n")).isEmpty == false)
  #expect(mistakes(String(repeating: "[", count: 100_000)).count == 1)
  #expect(mistakes("a: " + String(repeating: "[", count: 40) + String(repeating: "]", count: 40)).count == 1)
  #expect(mistakes(String(repeating: "#", count: 1 << 21)).count == 1)
  #expect(mistakes((0..<4000).map { "key\($0): 1\n" }.joined()).count == ReadingContext.problemLimit)
}

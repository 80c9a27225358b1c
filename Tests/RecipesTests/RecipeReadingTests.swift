import Testing

@testable import Recipes

@Test func `The documented example reads as it says`() throws {
  let recipe = try parse(goodRecipe)
  #expect(recipe.name == "support-bot")
  #expect(recipe.outputDirectory == RecipePath("/home/ada/runs/support-bot"))
  #expect(recipe.outputDirectory.raw == "runs/support-bot")
  #expect(recipe.model.path == RecipePath("/home/ada/models/Qwen3-0.6B"))
  #expect(recipe.model.chatTemplate == nil)
  #expect(recipe.quantization?.packing == "int4")
  #expect(recipe.quantization?.skip == ["lm_head", "embed_tokens"])
  #expect(recipe.adapter.effectiveScale == 2)
  #expect(recipe.adapter.targetModules == .names(["q_proj", "k_proj", "v_proj", "o_proj"]))
  #expect(recipe.adapter.layers == .last(8))
  #expect(recipe.adapter.rankPattern == ["q_proj": 4])
  #expect(
    recipe.data.train == [
      .init(RecipePath("/home/ada/data/a.jsonl"), weight: 2), .init(RecipePath("/home/ada/data/b.jsonl")),
    ])
  #expect(recipe.train.learningRate == 2e-4)
  #expect(recipe.train.warmupSteps == nil)
  #expect(recipe.train.beta2 == 0.99)
  #expect(recipe.train.threads == nil)
  #expect(recipe.train.onNonfinite == .skipStep(3))
  #expect(recipe.train.earlyStopping == Recipe.EarlyStopping())
  #expect(recipe.eval.samples?.prompts == ["How do I reset my password?"])
  #expect(recipe.merge?.output == RecipePath("/home/ada/runs/support-bot/merged"))
  #expect(recipe.export?.ggufType == .q4_0)
}

@Test func `Four keys are enough`() throws {
  let recipe = try parse(small())
  #expect(recipe.name == "recipe")
  #expect(recipe.seed == 42)
  #expect(recipe.quantization == nil)
  #expect(recipe.merge == nil)
  #expect(recipe.adapter.rank == 8)
  #expect(recipe.adapter.alpha == 8)
  #expect(recipe.adapter.effectiveScale == 1)
  #expect(recipe.adapter.targetModules == .allLinear)
  #expect(recipe.train.epochs == 1)
  #expect(recipe.train.warmupSteps == 0)
  #expect(recipe.eval.batchSize == recipe.train.batchSize)
  #expect(recipe.origin(of: "adapter.rank") == .default)
  #expect(recipe.origin(of: "adapter.type") == .recipe(line: 3))
}

@Test func `A key given replaces the default of the key it excludes`() throws {
  #expect(try parse(small("train: {max_steps: 5}")).train.epochs == nil)
  #expect(try parse(small("train: {warmup_ratio: 0.1}")).train.warmupSteps == nil)
  let scaled = try parse(small(adapter: "type: lora, scale: 20")).adapter
  #expect(scaled.alpha == nil)
  #expect(scaled.effectiveScale == 20)
}

@Test(arguments: [
  ("1e-5", 1e-5), ("1.e-5", 1e-5), ("2E-4", 2e-4), (".5", 0.5), ("+3", 3), ("1.0e-4", 1e-4), ("0", 0), ("2e+1", 20),
])
func `Numbers are read however they are written`(_ text: String, _ value: Double) throws {
  #expect(try parse(small("train: {learning_rate: \(text)}")).train.learningRate == value)
}

@Test(arguments: [
  ("lora_r: 4", "adapter.rank"), ("r: 4", "adapter.rank"), ("lora_rank: 4", "adapter.rank"),
  ("rank: 4", "adapter.rank"),
  ("cutoff_len: 64", "data.max_seq_len"), ("sequence_len: 64", "data.max_seq_len"),
  ("max_seq_length: 64", "data.max_seq_len"), ("max_seq_len: 64", "data.max_seq_len"),
  ("micro_batch_size: 2", "train.batch_size"), ("per_device_train_batch_size: 2", "train.batch_size"),
  ("num_epochs: 2", "train.epochs"), ("num_train_epochs: 2.0", "train.epochs"), ("iters: 9", "train.max_steps"),
  ("lora_target: [q_proj]", "adapter.target_modules"), ("lora_target_modules: [q_proj]", "adapter.target_modules"),
  ("lr: 1e-4", "train.learning_rate"), ("learning_rate: 1e-4", "train.learning_rate"),
  ("max_grad_norm: 2", "train.max_grad_norm"), ("save_total_limit: 2", "save.keep_last"),
  ("train: {lr: 1e-4}", "train.learning_rate"),
])
func `A peer's flat spelling sets the canonical key`(_ line: String, _ key: String) throws {
  #expect(try parse(small(line)).origin(of: key) == .recipe(line: 5))
}

@Test func `A peer's name of the model counts as the model`() throws {
  let recipe = try parse("base_model: m\nout_dir: o\nadapter: {type: dora}\ndata: {train: t}")
  #expect(recipe.model.path == RecipePath("/home/ada/m"))
}

@Test func `The same value given twice is no mistake`() throws {
  #expect(try parse(small("lora_r: 8", adapter: "type: lora, rank: 8")).adapter.rank == 8)
}

@Test func `Every key of the schema has one name and one alias at most once`() {
  let names = Recipe.keys.map(\.path)
  #expect(Set(names).count == names.count)
  let aliases = Recipe.keys.flatMap(\.aliases)
  #expect(Set(aliases).count == aliases.count)
  #expect(Set(aliases).isDisjoint(with: names))
  #expect(Recipe.keys.allSatisfy { !$0.documentation.isEmpty && !$0.type.isEmpty })
  let required = ["output_dir", "model.path", "adapter.type", "data.train"]
  let optional = Set(Recipe.sections.filter(\.isOptional).map(\.path))
  #expect(Recipe.keys.filter { $0.isRequired && !optional.contains($0.section) }.map(\.path) == required)
}

@Test(arguments: [
  ("adapter.rank", "8"), ("adapter.alpha", "8.0"), ("adapter.target_modules", "all-linear"), ("train.epochs", "1.0"),
  ("train.lr_schedule", "cosine"), ("train.threads", "auto"), ("train.betas", "[0.9, 0.999]"),
  ("merge.output", "${output_dir}/merged"), ("merge.verify.min_survival", "0.5"), ("log.every_steps", "1"),
])
func `The documented default is the one in force`(_ key: String, _ value: String) throws {
  let description = try #require(Recipe.keys.first { $0.path == key })
  #expect(description.defaultValue == value)
}

@Test func `Paths are relative to the recipe, and on the command line to the working folder`() throws {
  let recipe = try parse(
    small(model: "path: ./a//b/../m.gguf", data: "train: '${env:DATA}/t.jsonl', eval: '${output_dir}/v$${x}'"),
    ["merge.output=here"], environment: ["DATA": "/data"])
  #expect(recipe.model.path?.path == "/home/ada/a/b/../m.gguf")
  #expect(recipe.data.train[0].path.path == "/data/t.jsonl")
  #expect(recipe.data.train[0].path.raw == "${env:DATA}/t.jsonl")
  #expect(recipe.data.eval.map(\.path) == ["/home/ada/out/v${x}"])
  #expect(recipe.merge?.output.path == RecipeText.workingFolder + "/here")
}

@Test func `A known model is a name, not a path`() throws {
  #expect(try parse(small(model: "path: smollm2")).model.path?.path == "smollm2")
  #expect(try parse(small(model: "path: ./smollm2")).model.path?.path == "/home/ada/smollm2")
}

@Test func `A new model needs no path`() throws {
  let recipe = try parse(
    small(model: "init: {hidden_size: 32, num_attention_heads: 2, tokenizer: tok}", adapter: "type: full"))
  #expect(recipe.model.path == nil)
  #expect(recipe.model.initial?.keyValueHeads == 2)
  #expect(recipe.model.initial?.tokenizer.path == "/home/ada/tok")
}

@Test(arguments: [
  ("bits: 4", "int4"), ("bits: 8, scheme: affine", "int8"), ("scheme: nf4", "nf4"), ("bits: 4, scheme: nf4", "nf4"),
  ("packing: q4_k", "q4_k"),
])
func `Bits and scheme spell a packing`(_ section: String, _ packing: String) throws {
  #expect(try parse(small("quantization: {\(section)}")).quantization?.packing == packing)
}

@Test(arguments: [
  ("regex:\".*_proj\"", Recipe.Targets.regex(".*_proj")), ("'regex:(q|v)_proj'", .regex("(q|v)_proj")),
  ("all-linear", .allLinear), ("[q_proj]", .names(["q_proj"])),
])
func `Targets are names, an expression or every linear layer`(_ text: String, _ targets: Recipe.Targets) throws {
  #expect(try parse(small("lora_target: \(text)")).adapter.targetModules == targets)
}

@Test func `A family's own keys are kept with their types`() throws {
  let catalogue = RecipeCatalogue(
    adapterTypes: ["lora", "mosa"], adapterOptions: ["mosa": ["sparsity", "masks"]])
  let recipe = try parse(small(adapter: "type: mosa, sparsity: 0.5, masks: [a, 1, true]"), catalogue: catalogue)
  #expect(
    recipe.adapter.options == ["sparsity": .number(0.5), "masks": .list([.text("a"), .integer(1), .boolean(true)])])
  #expect(throws: RecipeError.self) { try parse(small(adapter: "type: lora, sparsity: 0.5"), catalogue: catalogue) }
}

@Test func `Windows line ends change nothing`() throws {
  #expect(try parse(goodRecipe.replacing("\n", with: "\r\n")) == parse(goodRecipe))
}

@Test func `A few aliases are filled in`() throws {
  let recipe = try parse(small("train: &t {learning_rate: 1e-3}\nlr: &x 1e-3\neval: {max_rows: 3}"))
  #expect(recipe.train.learningRate == 1e-3)
  let shared = try parse("output_dir: &o out\nmodel: {path: *o}\nadapter: {type: lora}\ndata: {train: *o}")
  #expect(shared.data.train[0].path == shared.outputDirectory)
}

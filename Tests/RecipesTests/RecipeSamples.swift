@testable import Recipes

/// The example of the documentation: every section but `model.init`, in the order a newcomer writes it.
let goodRecipe = """
  # support-bot.yaml
  name: support-bot
  seed: 42
  output_dir: runs/support-bot

  model:
    path: models/Qwen3-0.6B
    compute_dtype: float32
    chat_template: auto

  quantization:
    bits: 4
    group_size: 64
    scheme: affine
    skip: [lm_head, embed_tokens]

  adapter:
    type: lora
    rank: 16
    alpha: 32
    dropout: 0.05
    rslora: false
    target_modules: [q_proj, k_proj, v_proj, o_proj]
    layers: last:8
    rank_pattern: { q_proj: 4 }

  data:
    train: [{ path: data/a.jsonl, weight: 2 }, data/b.jsonl]
    eval: data/valid.jsonl
    format: auto
    train_on: assistant
    max_seq_len: 1024
    too_long: error
    packing: false

  train:
    epochs: 3
    batch_size: 4
    gradient_accumulation_steps: 4
    learning_rate: 2.0e-4
    lr_schedule: cosine
    warmup_ratio: 0.03
    optimizer: adamw
    betas: [0.9, 0.99]
    weight_decay: 0.01
    max_grad_norm: 1.0
    activation_checkpointing: false
    threads: auto
    memory_limit_gb: auto
    on_nonfinite: skip_step:3
    early_stopping: { metric: eval_loss, patience: 3, min_delta: 0.0 }

  eval:
    every_steps: 50
    samples:
      prompts: ["How do I reset my password?"]
      max_new_tokens: 64

  save:
    every_steps: 50
    keep_last: 2
    keep_best: true

  log:
    every_steps: 10
    jsonl: true
    plot: true

  merge:
    output: ${output_dir}/merged
    format: requantize
    verify: { prompts: data/valid.jsonl, max_kl: 0.02, min_top1_agreement: 0.98 }

  export:
    gguf: ${output_dir}/model.gguf
    gguf_type: q4_0

  """

/// The least a recipe may say; each test adds what it is about.
func small(
  _ more: String = "", model: String = "path: m", adapter: String = "type: lora", data: String = "train: d.jsonl"
) -> String {
  """
  output_dir: out
  model: { \(model) }
  adapter: { \(adapter) }
  data: { \(data) }
  \(more)
  """
}

/// The recipe in `text`, as if it stood in `/home/ada/recipe.yaml`.
func parse(
  _ text: String, _ overrides: [String] = [], catalogue: RecipeCatalogue = RecipeCatalogue(),
  environment: [String: String] = [:]
) throws -> Recipe {
  try Recipe.parse(
    text, path: "/home/ada/recipe.yaml", overrides: overrides, catalogue: catalogue, environment: environment)
}

/// What is wrong with the recipe in `text`, one `line:column: message` a mistake; hints in brackets.
func mistakes(_ text: String, _ overrides: [String] = []) -> [String] {
  do {
    _ = try parse(text, overrides)
    return []
  } catch let error as RecipeError {
    return error.problems.map { problem in
      let place = problem.argument.map { "'\($0)'" } ?? "\(problem.line):\(problem.column)"
      return "\(place): \(problem.message)" + (problem.hint.map { " [\($0)]" } ?? "")
    }
  } catch {
    return ["another error: \(error)"]
  }
}

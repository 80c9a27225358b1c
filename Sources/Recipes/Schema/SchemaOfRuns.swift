extension Schema {
  static let calibration: [Key] = [
    Key(
      "calibration.data", \.calibration.orNew.data, Codec.path.optional, "rows to measure on",
      default: "the training rows"),
    Key(
      "calibration.max_rows", \.calibration.orNew.maxRows, .integer(1...1_048_576),
      "rows measured at most, drawn by the seed"),
    Key(
      "calibration.statistics", \.calibration.orNew.statistics, Codec.path.optional,
      "an HDF5 file to keep the measurements in"),
  ]

  static let train: [Key] = [
    Key(
      "train.epochs", \.train.epochs, Codec.number("> 0") { $0 > 0 }.optional, "passes over the data, or max_steps",
      aliases: ["num_epochs", "num_train_epochs"]),
    Key(
      "train.max_steps", \.train.maxSteps, Codec.integer(0 ... .max).optional, "optimiser steps, instead of epochs",
      aliases: ["iters"]),
    Key(
      "train.batch_size", \.train.batchSize, .integer(1...1_048_576), "rows computed at once",
      aliases: ["micro_batch_size", "per_device_train_batch_size"]),
    Key(
      "train.gradient_accumulation_steps", \.train.gradientAccumulationSteps, .integer(1...1_048_576),
      "batches whose gradients make one step", aliases: ["grad_accumulation_steps"]),
    Key(
      "train.learning_rate", \.train.learningRate, .number("≥ 0") { $0 >= 0 }, "the highest learning rate",
      aliases: ["lr"]),
    Key(
      "train.lr_schedule", \.train.schedule, .choice, "how the learning rate falls",
      aliases: ["lr_scheduler", "lr_scheduler_type"]),
    Key(
      "train.warmup_ratio", \.train.warmupRatio, Codec.number("in [0, 1]") { $0 >= 0 && $0 <= 1 }.optional,
      "share of the steps over which the learning rate rises, instead of warmup_steps"),
    Key(
      "train.warmup_steps", \.train.warmupSteps, Codec.integer(0 ... .max).optional,
      "steps over which the learning rate rises", aliases: ["lr_warmup_steps", "num_warmup_steps"]),
    Key("train.optimizer", \.train.optimizer, .choice, "the rule by which weights change"),
    Key("train.betas", \.train.betas, .betas, "AdamW's memory of the gradient and of its square", unless: adamw),
    Key(
      "train.epsilon", \.train.epsilon, .number("> 0") { $0 > 0 }, "added to AdamW's root of the squared gradient",
      unless: adamw),
    Key(
      "train.momentum", \.train.momentum, .number("in [0, 1)") { $0 >= 0 && $0 < 1 }, "SGD's memory of the gradient",
      unless: sgd),
    Key("train.nesterov", \.train.nesterov, .boolean, "whether SGD looks ahead along the momentum", unless: sgd),
    Key(
      "train.role_rates", \.train.roleRates, Codec.number("> 0") { $0 > 0 }.byName(of: "factors"),
      "by what the learning rate of a role is multiplied: weight, factor_a, factor_b, magnitude, router, filter, norm, bias, head"
    ),
    Key("train.weight_decay", \.train.weightDecay, .number("≥ 0") { $0 >= 0 }, "pull towards zero"),
    Key(
      "train.max_grad_norm", \.train.maxGradNorm, .number("≥ 0") { $0 >= 0 },
      "longer gradients are shortened to this norm; 0 for never", aliases: ["clip_grad_norm", "max_norm"]),
    Key(
      "train.activation_checkpointing", \.train.activationCheckpointing, .boolean,
      "whether activations are computed again instead of kept",
      aliases: ["gradient_checkpointing", "grad_checkpoint", "enable_activation_checkpointing"]),
    Key("train.threads", \.train.threads, Codec.integer(1...1024).or("auto"), "threads to compute on"),
    Key(
      "train.memory_limit_gb", \.train.memoryLimitGB, Codec.number("> 0") { $0 > 0 }.or("auto"),
      "a plan that needs more is refused before it starts"),
    Key("train.on_nonfinite", \.train.onNonfinite, .nonfinite, "what to do when a loss is not finite"),
  ]

  static let stopping: [Key] = [
    Key("train.early_stopping.metric", \.train.earlyStopping.orNew.metric, .choice, "what is watched; lower is better"),
    Key(
      "train.early_stopping.patience", \.train.earlyStopping.orNew.patience, .integer(1 ... .max),
      "evaluations without improvement that end the run"),
    Key(
      "train.early_stopping.min_delta", \.train.earlyStopping.orNew.minDelta, .number("≥ 0") { $0 >= 0 },
      "a smaller improvement does not count"),
  ]

  static let results: [Key] = [
    Key(
      "eval.every_steps", \.eval.everySteps, Codec.integer(1 ... .max).optional, "steps between evaluations",
      aliases: ["run_val_every_n_steps", "eval_steps", "steps_per_eval"]),
    Key("eval.at_start", \.eval.atStart, .boolean, "whether to evaluate before the first step"),
    Key("eval.at_end", \.eval.atEnd, .boolean, "whether to evaluate after the last step"),
    Key(
      "eval.batch_size", \.eval.batchSize, .integer(1...1_048_576), "rows computed at once",
      default: "train.batch_size", aliases: ["per_device_eval_batch_size"]),
    Key("eval.max_rows", \.eval.maxRows, Codec.integer(1 ... .max).optional, "rows used at most"),
    Key(
      "eval.also", \.eval.also, Codec.path.byName(of: "paths", arePatterns: false),
      "other rows, by name, measured before the first step and after the last: what training makes the model forget"),
    Key(
      "eval.samples.prompts", \.eval.samples.orNew.prompts, Codec.text.list(of: "prompts", minimum: 1),
      "what to answer", required: true),
    Key(
      "eval.samples.max_new_tokens", \.eval.samples.orNew.maxNewTokens, .integer(1...1_048_576),
      "longest answer, in tokens"),
    Key(
      "save.every_steps", \.save.everySteps, Codec.integer(1 ... .max).optional, "steps between checkpoints",
      aliases: ["save_steps", "save_every", "save_every_n_steps"]),
    Key(
      "save.keep_last", \.save.keepLast, .integer(1 ... .max), "checkpoints kept besides the best",
      aliases: ["save_total_limit"]),
    Key("save.keep_best", \.save.keepBest, .boolean, "whether the best checkpoint is kept"),
    Key(
      "log.every_steps", \.log.everySteps, .integer(1 ... .max), "steps between reports",
      aliases: ["logging_steps", "log_every_n_steps", "steps_per_report"]),
    Key("log.jsonl", \.log.jsonl, .boolean, "whether metrics.jsonl is written"),
    Key("log.plot", \.log.plot, .boolean, "whether the loss is drawn"),
  ]

  static let files: [Key] = [
    Key(
      "merge.output", \.merge.orNew.output, .path, "where the merged model is written",
      default: "${output_dir}/merged"),
    Key("merge.format", \.merge.orNew.format, .choice, "what is written"),
    Key(
      "merge.raise", \.merge.orNew.raise, Codec.name(of: "a packing, such as q8_0") { $0.packings }.optional,
      "how layers are packed whose change their own packing would lose",
      unless: { recipe in
        recipe.merge?.format == .requantize ? nil : "belongs to format requantize; nothing is lost otherwise"
      }),
    Key(
      "merge.verify.prompts", \.merge.orNew.verify.prompts, Codec.path.optional,
      "rows to compare on; else those of eval"),
    Key(
      "merge.verify.max_kl", \.merge.orNew.verify.maxKL, .number("≥ 0") { $0 >= 0 },
      "highest mean divergence, in nats a token"),
    Key(
      "merge.verify.min_top1_agreement", \.merge.orNew.verify.minTop1Agreement, share,
      "lowest share of positions whose most likely token agrees"),
    Key(
      "merge.verify.min_survival", \.merge.orNew.verify.minSurvival, share,
      "lowest share of the adapter's change that outlives packing"),
    Key("export.gguf", \.export.orNew.gguf, Codec.path.optional, "a merged model for llama.cpp"),
    Key("export.gguf_type", \.export.orNew.ggufType, .choice, "how its weights are stored"),
    Key("export.gguf_lora", \.export.orNew.ggufLora, Codec.path.optional, "the adapter for llama.cpp"),
    Key("export.peft", \.export.orNew.peft, Codec.path.optional, "the adapter for PEFT: a folder"),
  ]

  private static let share = Codec<Double>.number("in [0, 1]") { $0 >= 0 && $0 <= 1 }

  @Sendable private static func adamw(_ recipe: Recipe) -> String? {
    recipe.train.optimizer == .adamw ? nil : "belongs to optimizer adamw; this recipe trains with sgd"
  }

  @Sendable private static func sgd(_ recipe: Recipe) -> String? {
    recipe.train.optimizer == .sgd ? nil : "belongs to optimizer sgd; this recipe trains with adamw"
  }
}

extension Recipe.Training {
  /// Both of AdamW's memories, as one key holds them.
  var betas: NumberPair {
    get { NumberPair(first: beta1, second: beta2) }
    set { (beta1, beta2) = (newValue.first, newValue.second) }
  }
}

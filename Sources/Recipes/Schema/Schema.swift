/// Every key a recipe may have: the one source of reading, printing, suggestions and documentation.
enum Schema {
  static let sections: [Section] = [
    Section("model", "the base model"),
    Section("model.init", \.model.initial, "the shape of a new model, trained from scratch instead of loading one"),
    Section("quantization", \.quantization, "how to pack the base model's weights"),
    Section("adapter", "what is trained"),
    Section("data", "what it is trained on"),
    Section("calibration", \.calibration, "what is measured of the layers' inputs, for methods and starts that ask"),
    Section("train", "how it is trained"),
    Section("train.early_stopping", \.train.earlyStopping, "when to stop before the end"),
    Section("objective", "what training makes small"),
    Section("eval", "when and on what it is judged"),
    Section("eval.samples", \.eval.samples, "text generated at every evaluation"),
    Section("save", "when checkpoints are written and kept"),
    Section("log", "what is reported"),
    Section("merge", \.merge, "folding the adapter into the base afterwards"),
    Section("merge.verify", "when the merged model counts as equal"),
    Section("export", \.export, "files for other programs"),
  ]

  static let keys: [Key] =
    top + model + initial + quantization + adapter + data + calibration + train + stopping + objective + results
    + files

  /// A recipe with every section and every default.
  static let defaults: Recipe = {
    var recipe = Recipe()
    for section in sections { section.open(&recipe) }
    recipe.quantization?.packing = "int4"
    return recipe
  }()

  static let keysByPath = Dictionary(uniqueKeysWithValues: keys.map { ($0.path, $0) })
  static let sectionsByPath = Dictionary(uniqueKeysWithValues: sections.map { ($0.path, $0) })
  static let keysByAlias = Dictionary(
    uniqueKeysWithValues: keys.flatMap { key in key.aliases.map { ($0, key) } })

  private static let top: [Key] = [
    Key("version", \.version, .integer(1...1), "version of the recipe's schema"),
    Key("name", \.name, .text, "the run's name", default: "the recipe's file name"),
    Key(
      "seed", \.seed, .integer(0 ... .max), "data order, dropout and adapter start derive from it",
      aliases: ["random_seed"]),
    Key(
      "output_dir", \.outputDirectory, .path, "where everything the run makes is written", required: true,
      aliases: ["out_dir", "adapter_path"]),
  ]

  private static let model: [Key] = [
    Key(
      "model.path", \.model.path, Codec.model.optional, "the base model, unless init is given", required: true,
      aliases: ["base_model", "model_name_or_path", "base_model_name_or_path", "checkpoint_dir"]),
    Key("model.chat_template", \.model.chatTemplate, Codec.path.or("auto"), "a Jinja file; auto for the model's own"),
    Key(
      "model.compute_dtype", \.model.computeType, .choice, "the type arithmetic is done in",
      aliases: ["dtype", "precision"]),
  ]

  private static let initial: [Key] = [
    Key(
      "model.init.hidden_size", \.model.initial.orNew.hiddenSize, .integer(1...65536), "width of the residual stream"),
    Key(
      "model.init.intermediate_size", \.model.initial.orNew.intermediateSize, .integer(1...1_048_576),
      "width of the feed-forward layer"),
    Key("model.init.num_hidden_layers", \.model.initial.orNew.hiddenLayers, .integer(1...1024), "number of blocks"),
    Key(
      "model.init.num_attention_heads", \.model.initial.orNew.attentionHeads, .integer(1...1024),
      "number of query heads"),
    Key(
      "model.init.num_key_value_heads", \.model.initial.orNew.keyValueHeads, .integer(1...1024),
      "number of key and value heads", default: "num_attention_heads"),
    Key(
      "model.init.tie_word_embeddings", \.model.initial.orNew.tieWordEmbeddings, .boolean,
      "whether the output layer is the embedding"),
    Key(
      "model.init.rope_theta", \.model.initial.orNew.ropeTheta, .number("> 0") { $0 > 0 }, "base of the rotary angles"),
    Key(
      "model.init.max_position_embeddings", \.model.initial.orNew.maxPositionEmbeddings, .integer(2...1_048_576),
      "longest sequence"),
    Key(
      "model.init.rms_norm_eps", \.model.initial.orNew.rmsNormEpsilon, .number("> 0") { $0 > 0 },
      "added to the mean square before its root"),
    Key(
      "model.init.tokenizer", \.model.initial.orNew.tokenizer, .path, "tokenizer.json, its folder, or a .gguf file",
      required: true),
  ]

  private static let quantization: [Key] = [
    Key(
      "quantization.packing", \.quantization.orNew.packing, .name(of: "a packing, such as int4") { $0.packings },
      "how weights are packed", required: true),
    Key(
      "quantization.group_size", \.quantization.orNew.groupSize, .integer(1...65536), "weights that share a scale",
      unless: { recipe in
        let packing = recipe.quantization.orNew.packing
        return packing.hasPrefix("int") ? nil : "belongs to the int packings; \(packing) has a fixed block"
      }),
    Key(
      "quantization.double_quant", \.quantization.orNew.doubleQuant, .boolean, "whether the scales are packed too",
      unless: { recipe in
        let packing = recipe.quantization.orNew.packing
        return packing == "nf4" ? nil : "belongs to packing nf4; this recipe packs \(packing)"
      }),
    Key(
      "quantization.skip", \.quantization.orNew.skip, Codec.text.list(of: "names"), "layers left alone"),
    Key(spelling: "quantization.bits", Codec<Int>.integer(1...8), "with scheme, another spelling of packing") {
      $2.bits = ($0, $1)
    },
    Key(spelling: "quantization.scheme", Codec<String>.text, "affine or nf4; with bits, another spelling of packing") {
      $2.scheme = ($0, $1)
    },
  ]

  private static let single = Codec<Double>.number("that single precision can hold") { Float($0).isFinite }

  private static let adapter: [Key] = [
    Key(
      "adapter.type", \.adapter.type, .name(of: "an adapter type, such as lora") { $0.adapterTypes },
      "the method", required: true, aliases: ["finetuning_type", "fine_tune_type"]),
    Key(
      "adapter.from", \.adapter.from, Codec.path.optional, "a trained adapter to start from",
      aliases: ["resume_adapter_file"]),
    Key(
      "adapter.rank", \.adapter.rank, .integer(1...65536), "width of the low-rank change",
      aliases: ["r", "lora_r", "lora_rank"], unless: lowRank),
    Key(
      "adapter.alpha", \.adapter.alpha, single.optional,
      "the change is multiplied by alpha / rank",
      aliases: ["lora_alpha"], unless: lowRank),
    Key(
      "adapter.scale", \.adapter.scale, single.optional,
      "the multiplier itself, instead of alpha", unless: lowRank),
    Key(
      "adapter.dropout", \.adapter.dropout, .number("in [0, 1)") { $0 >= 0 && $0 < 1 },
      "chance that an adapter input is dropped", aliases: ["lora_dropout"], unless: lowRank),
    Key(
      "adapter.rslora", \.adapter.rslora, .boolean, "divide alpha by √rank instead of rank", aliases: ["use_rslora"],
      unless: lowRank),
    Key(
      "adapter.target_modules", \.adapter.targetModules, Codec.targets.growing, "which layers are adapted, by name",
      aliases: ["lora_target", "lora_target_modules"]),
    Key("adapter.layers", \.adapter.layers, Codec.layers.growing, "which blocks are adapted, by number"),
    Key(
      "adapter.rank_pattern", \.adapter.rankPattern, Codec.integer(1...65536).byName(of: "ranks"),
      "ranks that differ, by layer name", unless: lowRank),
    Key(
      "adapter.alpha_pattern", \.adapter.alphaPattern, single.byName(of: "alphas"),
      "alphas that differ, by layer name", unless: lowRank),
    Key("adapter.bias", \.adapter.bias, .choice, "which biases are trained"),
    Key(
      "adapter.modules_to_save", \.adapter.modulesToSave, Codec.text.list(of: "names"), "layers trained whole",
      aliases: ["lora_modules_to_save", "additional_target"]),
    Key("adapter.init", \.adapter.initialization, .start, "how the adapter starts", unless: lowRank),
  ]

  @Sendable private static func lowRank(_ recipe: Recipe) -> String? {
    recipe.adapter.type == "full" ? "means nothing for adapter type full, which trains the weights themselves" : nil
  }

  @Sendable private static func classification(_ recipe: Recipe) -> String? {
    recipe.data.format == .classification
      ? nil : "belongs to format classification; this recipe has format \(recipe.data.format.rawValue)"
  }

  private static let data: [Key] = [
    Key("data.train", \.data.train, Codec.sources.growing, "rows to learn from", required: true),
    Key(
      "data.eval", \.data.eval, Codec.paths.growing, "rows to judge by, or eval_fraction",
      aliases: ["eval_dataset"]),
    Key(
      "data.eval_fraction", \.data.evalFraction, Codec.number("in (0, 1)") { $0 > 0 && $0 < 1 }.optional,
      "share of the training rows set aside to judge by", aliases: ["val_size", "val_set_size", "val_split_fraction"]),
    Key("data.format", \.data.format, .choice, "how rows are laid out"),
    Key("data.train_on", \.data.trainOn, .choice, "which tokens are learnt"),
    Key(
      "data.max_seq_len", \.data.maxSequenceLength, .integer(2...1_048_576), "longest sequence, in tokens",
      aliases: ["cutoff_len", "sequence_len", "max_seq_length", "max_length"]),
    Key("data.too_long", \.data.tooLong, .choice, "what to do with longer rows"),
    Key(
      "data.text_field", \.data.textField, .text, "the key of each row's text", aliases: ["text_column"],
      unless: classification),
    Key(
      "data.pair_field", \.data.pairField, Codec.text.optional, "the key of each row's second text, for pairs",
      aliases: ["text_pair_column"], unless: classification),
    Key(
      "data.label_field", \.data.labelField, .text, "the key of each row's class", aliases: ["label_column"],
      unless: classification),
    Key(
      "data.task_field", \.data.taskField, Codec.text.optional, "the key of each row's task, for families that route"),
    Key("data.packing", \.data.packing, .boolean, "whether short rows share a sequence", aliases: ["sample_packing"]),
    Key("data.shuffle", \.data.shuffle, .boolean, "whether rows are drawn in random order"),
  ]
}

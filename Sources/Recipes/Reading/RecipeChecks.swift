/// What must hold between the keys of a recipe, each with its remedy.
enum RecipeChecks {
  static func check(_ recipe: Recipe, _ entries: Entries, _ context: inout ReadingContext) {
    var check = Check(recipe: recipe, entries: entries, context: context)
    check.required()
    check.exclusions()
    check.meanings()
    check.model()
    check.evaluation()
    check.others()
    context = check.context
  }

  /// The same of an adapter's section alone.
  static func checkAdapter(_ recipe: Recipe, _ entries: Entries, _ context: inout ReadingContext) {
    var check = Check(recipe: recipe, entries: entries, context: context)
    check.required(in: "adapter")
    check.exclusions()
    check.meanings()
    context = check.context
  }
}

private struct Check {
  let recipe: Recipe
  let entries: Entries
  var context: ReadingContext

  private func has(_ key: String) -> Bool { entries[key] != nil }

  /// Where `key` or the nearest section around it stands.
  private func place(_ key: String) -> Place {
    if let entry = entries[key] { return entry.place }
    var path = key[...]
    while let dot = path.lastIndex(of: ".") {
      path = path[..<dot]
      if let place = entries.sections[String(path)] { return place }
    }
    return Place(line: 1, column: 1)
  }

  mutating func required(in section: String? = nil) {
    for key in Schema.keys where key.isRequired && !has(key.path) && section ?? key.section == key.section {
      if key.path == "model.path", recipe.model.initial != nil { continue }
      if key.path == "quantization.packing", has("quantization.bits") || has("quantization.scheme") { continue }
      var section = Schema.sectionsByPath[key.section]
      var isPresent = true
      while let found = section {
        isPresent = isPresent && found.isPresent?(recipe) ?? true
        section = Schema.sectionsByPath[found.parent]
      }
      guard isPresent else { continue }
      context.report(
        "'\(key.path)' is missing", at: place(key.path), hint: "it needs \(key.type): \(key.documentation)")
    }
  }

  mutating func exclusions() {
    for (a, b) in RecipeReader.exclusive {
      guard let first = entries[a], let second = entries[b] else { continue }
      let isInOrder = (first.place.line, first.place.column) <= (second.place.line, second.place.column)
      let (earlier, later) = isInOrder ? ((a, first), (b, second)) : ((b, second), (a, first))
      context.report(
        "'\(later.0)' and '\(earlier.0)' (\(earlier.1.place.name)) exclude each other", at: later.1.place,
        hint: "remove one of them")
    }
  }

  /// Keys given where they mean nothing.
  mutating func meanings() {
    for key in Schema.keys {
      guard let entry = entries[key.path], let objection = key.objection(recipe) else { continue }
      // A packing or type that could not be read is told already.
      if key.section == "quantization", recipe.quantization.orNew.packing.isEmpty { continue }
      context.report("'\(key.path)' \(objection)", at: entry.place, hint: "remove it")
    }
  }

  mutating func model() {
    guard let initial = recipe.model.initial else { return }
    if has("model.path") {
      context.report(
        "'model.path' and 'model.init' exclude each other", at: place("model.path"),
        hint: "remove init to load the model, or path to start a new one")
    }
    if initial.hiddenSize % initial.attentionHeads != 0 {
      context.report(
        "'model.init.hidden_size' \(initial.hiddenSize) cannot be shared among \(initial.attentionHeads) heads",
        at: place("model.init.hidden_size"), hint: "make it a multiple of num_attention_heads")
    } else if initial.hiddenSize / initial.attentionHeads % 2 != 0 {
      context.report(
        "a head of 'model.init' is \(initial.hiddenSize / initial.attentionHeads) wide, and rotary angles need pairs",
        at: place("model.init.hidden_size"), hint: "make hidden_size / num_attention_heads even")
    }
    if initial.attentionHeads % initial.keyValueHeads != 0 {
      context.report(
        "'model.init.num_key_value_heads' \(initial.keyValueHeads) does not divide \(initial.attentionHeads) heads",
        at: place("model.init.num_key_value_heads"), hint: "make it divide num_attention_heads")
    }
    if recipe.data.maxSequenceLength > initial.maxPositionEmbeddings {
      context.report(
        "'data.max_seq_len' \(recipe.data.maxSequenceLength) is longer than the new model's "
          + "\(initial.maxPositionEmbeddings) positions",
        at: place("data.max_seq_len"), hint: "raise model.init.max_position_embeddings or lower max_seq_len")
    }
  }

  mutating func evaluation() {
    let hasRows = has("data.eval") || has("data.eval_fraction")
    if recipe.train.earlyStopping?.metric == .evalLoss {
      if !hasRows {
        context.report(
          "'train.early_stopping' watches eval_loss, but nothing is evaluated",
          at: place("train.early_stopping.metric"),
          hint: "give data.eval or data.eval_fraction, or watch train_loss")
      } else if recipe.eval.everySteps == nil {
        context.report(
          "'train.early_stopping' watches eval_loss, which is known only at the start and the end",
          at: place("train.early_stopping.metric"), hint: "give eval.every_steps")
      }
    }
    if has("eval.every_steps"), !hasRows, recipe.eval.samples == nil {
      context.report(
        "'eval.every_steps' has nothing to evaluate", at: place("eval.every_steps"),
        hint: "give data.eval, data.eval_fraction or eval.samples")
    }
  }

  mutating func others() {
    if recipe.train.nesterov, recipe.train.optimizer == .sgd, recipe.train.momentum == 0 {
      context.report(
        "'train.nesterov' needs momentum", at: place("train.nesterov"), hint: "give train.momentum, such as 0.9")
    }
    if recipe.adapter.initialization == .loftq, recipe.quantization == nil {
      context.report(
        "'adapter.init' loftq starts from what packing the base loses, and nothing packs it", at: place("adapter.init"),
        hint: "give quantization.packing, such as nf4")
    }
    if recipe.export != nil, !has("export.gguf"), !has("export.gguf_lora"), !has("export.peft") {
      context.report(
        "'export' names no file to write", at: place("export.gguf"),
        hint: "give gguf, gguf_lora or peft, or remove the section")
    }
  }
}

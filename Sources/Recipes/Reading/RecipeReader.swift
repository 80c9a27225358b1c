/// Turns the nodes of a recipe and its overrides into a `Recipe`.
enum RecipeReader {
  /// Keys of which at most one may be given.
  static let exclusive = [
    ("adapter.alpha", "adapter.scale"), ("train.epochs", "train.max_steps"), ("data.eval", "data.eval_fraction"),
    ("train.warmup_ratio", "train.warmup_steps"), ("quantization.packing", "quantization.bits"),
    ("quantization.packing", "quantization.scheme"),
  ]

  /// The recipe, as far as it could be read; whatever is wrong with it is in `context`.
  static func recipe(
    _ root: RecipeNode, _ overrides: [String], name: String, _ context: inout ReadingContext
  ) -> Recipe {
    var entries = Entries()
    if case .mapping(let pairs) = root.content { entries.collect(pairs, in: "", &context) }
    for argument in overrides { entries.apply(argument, &context) }
    entries.settle(exclusive)

    var recipe = Recipe()
    recipe.name = name
    for section in Schema.sections where entries.sections[section.path] != nil { open(section.path, &recipe) }
    for key in Schema.keys {
      guard let entry = entries[key.path] else { continue }
      context.key = key.path
      open(key.section, &recipe)
      if entry.node.isNull {
        context.report("'\(key.path)' has no value", at: entry.place, hint: hint(forEmpty: key))
      } else if key.path == "version", case .scalar(let text, true) = entry.node.content,
        let version = ScalarRules.integer(text), version > 1
      {
        context.report(
          "this recipe is of version \(version); this release reads version 1", at: entry.node.place,
          hint: "use a newer release, or write the recipe for version 1")
      } else {
        key.read(entry.node, &recipe, &context)
      }
      recipe.origins[key.path] = entry.place.origin
      if key.path == "output_dir", !recipe.outputDirectory.path.isEmpty {
        context.outputDirectory = recipe.outputDirectory.path
      }
    }
    readOptions(entries, &recipe, &context)
    complete(entries, &recipe, &context)
    RecipeChecks.check(recipe, entries, &context)
    return recipe
  }

  /// The adapter of a recipe of another kind, whose `adapter` section is `node`; whatever is wrong is in `context`.
  static func adapter(_ node: RecipeNode, _ context: inout ReadingContext) -> Recipe.Adapter {
    var entries = Entries()
    entries.collect([.init(key: "adapter", place: node.place, value: node)], in: "", &context)
    var recipe = Recipe()
    for key in Schema.keys where key.section == "adapter" {
      guard let entry = entries[key.path] else { continue }
      context.key = key.path
      if entry.node.isNull {
        context.report("'\(key.path)' has no value", at: entry.place, hint: hint(forEmpty: key))
      } else {
        key.read(entry.node, &recipe, &context)
      }
    }
    readOptions(entries, &recipe, &context)
    if recipe.adapter.scale != nil, entries["adapter.alpha"] == nil { recipe.adapter.alpha = nil }
    RecipeChecks.checkAdapter(recipe, entries, &context)
    return recipe.adapter
  }

  static func isEarlier(_ a: RecipeError.Problem, _ b: RecipeError.Problem) -> Bool {
    if (a.argument == nil) != (b.argument == nil) { return a.argument == nil }
    return (a.line, a.column) < (b.line, b.column)
  }

  /// Starts the section and those around it.
  private static func open(_ path: String, _ recipe: inout Recipe) {
    guard let section = Schema.sectionsByPath[path] else { return }
    open(section.parent, &recipe)
    section.open(&recipe)
  }

  private static func hint(forEmpty key: Key) -> String {
    if let value = key.description.defaultValue { return "remove the key for its default, \(value)" }
    return key.isRequired ? "it needs \(key.type)" : "remove the key, or give \(key.type)"
  }

  /// Keys only this adapter's type knows.
  private static func readOptions(_ entries: Entries, _ recipe: inout Recipe, _ context: inout ReadingContext) {
    let type = recipe.adapter.type
    let known = context.catalogue.adapterOptions[type] ?? []
    for (name, entry) in entries.options.sorted(by: { $0.key < $1.key }) {
      context.key = "adapter.\(name)"
      guard type.isEmpty || known.contains(name) else {
        let types = context.catalogue.adapterOptions.filter { $0.value.contains(name) }.keys.sorted()
        context.report(
          "'adapter.\(name)' means nothing for adapter type \(type)", at: entry.place,
          hint: "it belongs to \(types.joined(separator: " "))")
        continue
      }
      if let value = Codec<RecipeValue>.any.read(entry.node, &context) { recipe.adapter.options[name] = value }
      recipe.origins["adapter.\(name)"] = entry.place.origin
    }
  }

  /// Fills in the defaults that follow from other values.
  private static func complete(_ entries: Entries, _ recipe: inout Recipe, _ context: inout ReadingContext) {
    if recipe.adapter.scale != nil, entries["adapter.alpha"] == nil { recipe.adapter.alpha = nil }
    if recipe.train.maxSteps != nil, entries["train.epochs"] == nil { recipe.train.epochs = nil }
    if recipe.train.warmupRatio != nil, entries["train.warmup_steps"] == nil { recipe.train.warmupSteps = nil }
    if entries["eval.batch_size"] == nil { recipe.eval.batchSize = recipe.train.batchSize }
    if let initial = recipe.model.initial, entries["model.init.num_key_value_heads"] == nil {
      recipe.model.initial?.keyValueHeads = initial.attentionHeads
    }
    if recipe.merge != nil, entries["merge.output"] == nil, let folder = context.outputDirectory {
      recipe.merge?.output = RecipePath(
        raw: "${output_dir}/merged", path: ReadingContext.normalized("\(folder)/merged"))
    }
    choosePacking(entries, &recipe, &context)
  }

  /// Reads `bits` and `scheme` as the packing they spell.
  private static func choosePacking(_ entries: Entries, _ recipe: inout Recipe, _ context: inout ReadingContext) {
    guard entries["quantization.packing"] == nil, let place = context.bits?.place ?? context.scheme?.place
    else { return }
    let packing: String
    switch (context.scheme?.value ?? "affine", context.bits?.value) {
    case ("affine", let bits?): packing = "int\(bits)"
    case ("nf4", nil), ("nf4", 4): packing = "nf4"
    case ("affine", nil):
      context.report("'quantization.scheme: affine' needs bits", at: place, hint: "add bits: 4, or write packing: int4")
      return
    case ("nf4", _):
      context.report("'quantization.scheme: nf4' has 4 bits", at: context.bits?.place ?? place, hint: "remove bits")
      return
    default:
      context.report(
        "'quantization.scheme' must be affine | nf4; found \(quoted(context.scheme?.value ?? ""))",
        at: context.scheme?.place ?? place)
      return
    }
    guard context.catalogue.packings.contains(packing) else {
      context.report(
        "there is no packing \(packing)", at: place, hint: "valid: \(context.catalogue.packings.joined(separator: " "))"
      )
      return
    }
    recipe.quantization?.packing = packing
    recipe.origins["quantization.packing"] = place.origin
  }
}

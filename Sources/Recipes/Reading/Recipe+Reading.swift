extension Recipe {
  /// The recipe in the file at `path`, changed by the command line's `overrides`.
  ///
  ///     try Recipe.read("support-bot.yaml", overrides: ["learning_rate=1e-4", "~export", "skip+=lm_head"])
  ///
  /// - Parameter environment: what `${env:NAME}` stands for; the process's environment unless given.
  /// - Throws: `RecipeError` with every mistake found.
  public static func read(
    _ path: String, overrides: [String] = [], catalogue: RecipeCatalogue = RecipeCatalogue(),
    environment: [String: String]? = nil
  ) throws -> Recipe {
    let text: String
    do throws(RecipeDocument.Stop) {
      text = try RecipeText.read(path)
    } catch {
      throw RecipeError([error.problem], path: path)
    }
    return try parse(text, path: path, overrides: overrides, catalogue: catalogue, environment: environment)
  }

  /// The recipe in `text`, as if it stood in a file at `path`.
  ///
  /// - Throws: `RecipeError` with every mistake found.
  public static func parse(
    _ text: String, path: String, overrides: [String] = [], catalogue: RecipeCatalogue = RecipeCatalogue(),
    environment: [String: String]? = nil
  ) throws -> Recipe {
    let working = RecipeText.workingFolder
    let file = ReadingContext.normalized(path.hasPrefix("/") ? path : "\(working)/\(path)")
    let folder = String(file[..<(file.lastIndex(of: "/") ?? file.startIndex)])
    var context = ReadingContext(
      catalogue: catalogue, folder: folder, workingFolder: working,
      environment: { name in
        if let environment { environment[name] } else { RecipeText.variable(name) }
      })
    let root: RecipeNode
    do throws(RecipeDocument.Stop) {
      root = try RecipeDocument.read(text)
    } catch {
      throw RecipeError([error.problem], path: path)
    }
    var recipe = RecipeReader.recipe(root, overrides, name: stem(of: file), &context)
    recipe.file = path
    guard context.problems.isEmpty else {
      throw RecipeError(context.problems.sorted(by: RecipeReader.isEarlier), path: path)
    }
    return recipe
  }

  private static func stem(of file: String) -> String {
    let name = file.split(separator: "/").last.map(String.init) ?? "recipe"
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return name }
    return String(name[..<dot])
  }
}

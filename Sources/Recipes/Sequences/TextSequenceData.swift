import Files
import Text

/// The tasks of a text sequence, to be kept as files of their own: `NAME.train.jsonl` and `NAME.eval.jsonl`, every row as
/// it was given and its task beside it.
struct TextSequenceData: Sendable {
  /// One task.
  struct Task: Sendable {
    let name: String
    /// The files of its rows, once written, and what they hold.
    let train: String, eval: String
    fileprivate let trainText: String, evalText: String
    /// The classes its training rows name, sorted; empty where text is written.
    let classes: [String]
    /// The digest of both files.
    var digest: String { Fingerprint.text(Fingerprint.text(trainText) + " " + Fingerprint.text(evalText)) }
  }

  /// The key under which each row names its task.
  static let field = "sequence_task"

  let tasks: [Task]

  /// Whether class k of every task is the same.
  var haveTheSameClasses: Bool {
    tasks.first.map { first in !first.classes.isEmpty && tasks.allSatisfy { $0.classes == first.classes } } ?? false
  }

  /// Cuts the tasks of `sequence` out of its files, for `folder`; nothing is written yet.
  ///
  /// - Throws: a ``FileError`` for a file that is not there or malformed, a task without rows or of one class, held-out
  ///   rows of a class that was not learned, and tasks whose rows are laid out differently.
  init(_ sequence: TextSequenceRecipe, isClassified: Bool, in folder: String) throws {
    let recipe = sequence.recipe
    var first: (name: String, format: ExampleOptions.Format?)?
    tasks = try sequence.tasks.map { task in
      let selection = task.train.isEmpty ? recipe.data.taskField.map { ($0, task.select ?? task.name) } : nil
      func rows(_ paths: [RecipePath], _ purpose: String) throws -> (rows: [JSON], place: String) {
        let parts = try paths.map { try PlainRows($0.path, where: selection) }
        let place = paths.map { displayed($0.path) }.joined(separator: ", ")
        guard parts.contains(where: { !$0.rows.isEmpty }) else {
          let why = selection.map { ": none whose '\($0.0)' is \(quoted($0.1))" } ?? ""
          throw FileError(place, "holds no row for task '\(task.name)' to \(purpose)\(why)")
        }
        for part in parts where !part.rows.isEmpty && recipe.data.format == .auto && !isClassified {
          let known = first ?? (task.name, part.format)
          guard known.format == part.format else {
            func named(_ format: ExampleOptions.Format?) -> String { format?.rawValue ?? "an unknown layout" }
            throw FileError(
              place,
              "task '\(task.name)' has rows of \(named(part.format)), task '\(known.name)' of \(named(known.format))",
              remedy: "tasks of one sequence are laid out alike")
          }
          first = known
        }
        return (parts.flatMap(\.rows), place)
      }
      let selected = task.train.isEmpty
      let train = try rows(selected ? recipe.data.train.map(\.path) : task.train, "learn")
      let eval = try rows(selected ? recipe.data.eval : task.eval, "be judged by")
      var classes: [String] = []
      if isClassified {
        let (learned, told) = (try Self.classes(train, recipe, task.name), try Self.classes(eval, recipe, task.name))
        guard learned.count > 1 else {
          throw FileError(
            train.place, "names one class in task '\(task.name)', \(quoted(learned.first ?? ""))",
            remedy: "there is nothing to tell apart")
        }
        if let stranger = told.subtracting(learned).min() {
          throw FileError(
            eval.place, "judges task '\(task.name)' by class \(quoted(stranger)), which no row to learn from has")
        }
        classes = learned.sorted()
      }
      func text(_ rows: [JSON]) -> String { rows.map { Self.naming($0, task.name).text() + "\n" }.joined() }
      return Task(
        name: task.name, train: "\(folder)/\(task.name).train.jsonl", eval: "\(folder)/\(task.name).eval.jsonl",
        trainText: text(train.rows), evalText: text(eval.rows), classes: classes)
    }
  }

  /// Writes the files.
  func write(to folder: String) throws {
    try Folder.create(folder)
    for task in tasks {
      try AtomicFile.write(task.trainText, to: task.train)
      try AtomicFile.write(task.evalText, to: task.eval)
    }
  }

  /// The classes that rows name.
  private static func classes(
    _ part: (rows: [JSON], place: String), _ recipe: Recipe, _ task: String
  ) throws -> Set<
    String
  > {
    let key = recipe.data.labelField
    return Set(
      try part.rows.map { row in
        switch row[key] {
        case .string(let name)? where !name.isEmpty: return name
        case .integer(let number)?: return "\(number)"
        case .bool(let value)?: return "\(value)"
        default:
          throw FileError(
            part.place, "has a row of task '\(task)' whose '\(key)' names no class",
            remedy: "give every row its class, or name the key as data.label_field")
        }
      })
  }

  private static func naming(_ row: JSON, _ task: String) -> JSON {
    .object((row.object ?? [:]).merging([field: .string(task)]) { $1 })
  }
}

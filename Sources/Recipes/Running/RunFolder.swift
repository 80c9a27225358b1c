import Files
import Glibc

/// Where a run keeps what it makes.
///
///     adapter/                 the result, as PEFT lays it out
///     best/                    the adapter at its lowest held-out loss
///     checkpoints/step-000050/ what `graft resume` goes on from
///     resolved.yaml            every key of the recipe with its value
///     metrics.jsonl            one line a report
///     loss.svg  report.json
public final class RunFolder: Sendable {
  /// The folder.
  public let path: String
  private let lock: Int32

  /// Opens, and makes if needed, a run's folder, for this process alone.
  ///
  /// - Throws: a ``FileError`` when it cannot be made or another process is using it.
  public init(_ path: String) throws {
    try Folder.create(path)
    self.path = path
    lock = open(path + "/.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0o666)
    guard lock >= 0 else { throw FileError(path, "cannot be written to") }
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      close(lock)
      throw FileError(path, "is in use by another run", remedy: "wait for it, or choose another output_dir")
    }
    // What a killed run had begun to write.
    for folder in [path, path + "/checkpoints"] {
      for name in Folder.names(in: folder) where name.contains(".partial-") { Folder.remove(folder + "/" + name) }
    }
  }

  deinit { close(lock) }

  /// Refuses to begin where an unfinished run could be gone on with.
  ///
  /// - Throws: a ``RecipeError`` that says both ways out.
  static func refuseUnfinished(_ recipe: Recipe) throws {
    let path = recipe.outputDirectory.path
    let steps = steps(in: path)
    guard let newest = steps.last, !Folder.exists(path + "/report.json") else { return }
    throw RecipeError(
      [
        recipe.problem(
          "output_dir", "'\(displayed(path))' holds an unfinished run, saved after step \(newest)",
          hint: "graft resume \(displayed(path)) goes on with it; --overwrite begins anew")
      ], path: recipe.origin)
  }

  /// The adapter the run ends with.
  public var adapter: String { path + "/adapter" }
  /// The adapter at its lowest held-out loss.
  public var best: String { path + "/best" }
  /// Every key of the recipe with its value.
  public var recipe: String { path + "/resolved.yaml" }
  /// One JSON object a line.
  public var metrics: String { path + "/metrics.jsonl" }
  /// The whole run as one JSON object, written at its end.
  public var report: String { path + "/report.json" }

  /// The folder of the checkpoint after `step` steps.
  public func checkpoint(_ step: Int) -> String {
    let digits = String(step)
    return path + "/checkpoints/step-" + String(repeating: "0", count: max(0, 6 - digits.count)) + digits
  }

  /// The steps of the checkpoints that are there, in order.
  public var checkpoints: [Int] { Self.steps(in: path) }

  private static func steps(in path: String) -> [Int] {
    Folder.names(in: path + "/checkpoints").compactMap { name in
      name.hasPrefix("step-") ? Int(name.dropFirst(5)) : nil
    }.sorted()
  }

  /// Removes all but the newest `count` checkpoints.
  public func keepLast(_ count: Int) {
    for step in checkpoints.dropLast(max(1, count)) { Folder.remove(checkpoint(step)) }
  }

  /// Removes what an earlier run left, so that nothing of it is taken for this one's.
  public func clear() {
    for name in ["adapter", "best", "checkpoints", "metrics.jsonl", "report.json", "loss.svg"] {
      Folder.remove(path + "/" + name)
    }
  }
}

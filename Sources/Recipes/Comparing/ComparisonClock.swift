import Files
import Training

/// How many steps each family makes where all have the same time, measured once and kept in the comparison's folder, so
/// that the same command given again goes on with the same runs.
struct ComparisonClock {
  /// Seconds of training a run.
  let seconds: Double
  private let path: String
  private var known: [String: Int] = [:]

  /// - Throws: a ``FileError`` when the folder holds counts for another time.
  init(seconds: Double, folder: String) throws {
    (self.seconds, path) = (seconds, folder + "/steps.json")
    guard Folder.exists(path) else { return }
    let json = try JSON.read(path)
    guard json["seconds"]?.double == seconds else {
      throw FileError(
        path, "counts steps for \(json["seconds"]?.text() ?? "another time"), not for \(number(seconds)) seconds",
        remedy: "choose another output, or remove the folder")
    }
    known = (json["steps"]?.object ?? [:]).compactMapValues(\.int)
  }

  /// The steps of `family`, whose runs `recipe` describes: as counted before, or by the median time of some steps.
  ///
  /// - Throws: as opening the recipe's plan and training do.
  mutating func steps(of family: String, _ recipe: Recipe) throws -> Int {
    if let steps = known[family] { return steps }
    var training = try RunPlan(recipe, scratch: recipe.outputDirectory.path).start
    var times: [Double] = []
    // The first step warms up; the longest rows come at random, so the median of several.
    for index in 0..<10 {
      let started = secondsNow()
      guard try training.next() != nil else { break }
      if index > 0 { times.append(secondsNow() - started) }
      if times.count >= 3 && times.reduce(0, +) > seconds / 4 { break }
    }
    let median = times.isEmpty ? seconds : times.sorted()[times.count / 2]
    let steps = max(1, Int((seconds / median).rounded()))
    known[family] = steps
    let json = JSON.object(["seconds": .number(seconds), "steps": .object(known.mapValues(JSON.integer))])
    try AtomicFile.write(json.text(pretty: true) + "\n", to: path)
    return steps
  }
}

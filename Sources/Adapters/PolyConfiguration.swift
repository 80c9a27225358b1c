import Files
import Networks

/// PEFT's Poly, which is ``MHR`` with the scale 1 / r: how its `adapter_config.json` says so.
extension PEFTConfiguration {
  /// What PEFT calls it.
  static let polyType = "POLY"
  /// Tasks a file may name by their number.
  private static let mostTasks = 1 << 20

  /// Whether the plan is one that PEFT's Poly computes: it knows no α, no layer's own rank, no learning biases and no
  /// choice of blocks.
  var isPoly: Bool {
    let settings = plan.settings
    return plan.method == MHR.method && settings.alpha == 1 && !settings.isRankStabilised
      && settings.rankPattern.isEmpty && settings.alphaPattern.isEmpty && plan.bias == .none && plan.layers == .all
  }

  /// The settings of a Poly configuration; tasks that it does not name are `task0`, `task1`, ….
  static func polySettings(_ reader: Reader) throws -> AdapterSettings {
    let path = reader.path
    if let type = reader.object["poly_type"]?.string, type != "poly" {
      throw FileError(path, at: "key 'poly_type'", "\(quoted(type)) is not supported; expected poly")
    }
    func count(_ key: String, _ standard: Int, most: Int) throws -> Int {
      let value = try reader.int(key) ?? standard
      guard (1...most).contains(value) else {
        throw FileError(path, at: "key '\(key)'", "\(value) is not from 1 to \(most)")
      }
      return value
    }
    var settings = AdapterSettings(rank: try count("r", 8, most: 1 << 20 - 1), alpha: 1)
    let tasks = try count("n_tasks", 1, most: mostTasks), own = reader.object["graft"]
    settings.options = (own?["options"]?.object ?? [:]).compactMapValues(\.string)
    settings.options["skills"] = String(try count("n_skills", 4, most: MHR.mostSkills))
    settings.options["heads"] = String(try count("n_splits", 1, most: MHR.mostSkills))
    settings.tasks = own?["tasks"]?.array?.compactMap(\.string) ?? (0..<tasks).map { "task\($0)" }
    guard settings.tasks.count == tasks else {
      throw FileError(path, at: "key 'graft'", "names \(settings.tasks.count) tasks, and n_tasks is \(tasks)")
    }
    return settings
  }

  /// What PEFT reads of a Poly plan, and beside it what only this package does: the tasks' names.
  var polyKeys: [String: JSON] {
    var own = plan.settings.options, keys: [String: JSON] = [:]
    let skills = own.removeValue(forKey: "skills").flatMap(Int.init) ?? MHR.standardSkills
    let heads = own.removeValue(forKey: "heads").flatMap(Int.init) ?? 1
    let tasks = plan.settings.tasks
    keys["peft_type"] = .string(Self.polyType)
    keys["poly_type"] = .string("poly")
    keys["init_weights"] = .bool(true)
    (keys["n_skills"], keys["n_splits"]) = (.integer(skills), .integer(heads))
    keys["n_tasks"] = .integer(max(1, tasks.count))
    // PEFT warns of a key it does not know, so it is left out where it would say nothing.
    if !own.isEmpty || tasks != tasks.indices.map({ "task\($0)" }) {
      keys["graft"] = .object([
        "options": .object(own.mapValues(JSON.string)), "tasks": .array(tasks.map(JSON.string)),
      ])
    }
    return keys
  }
}

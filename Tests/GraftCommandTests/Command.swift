import Foundation
import Testing

/// The folder of fixtures beside the test targets.
let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures").path

/// The `graft` program of this build, run as a user runs it.
struct Command {
  /// How a run of the program ended.
  struct Ending {
    /// The exit code; the negative of the signal where one ended it.
    let code: Int32
    let output: String, errors: String
  }

  private let process = Process()
  private let folder: String

  /// A command that has been started in `folder`, which also takes what it prints; with at most `megabytes` of memory, or
  /// by a shell script in which it is `"$0" "$@"`.
  init(_ arguments: [String], in folder: String, megabytes: Int? = nil, by script: String? = nil) throws {
    self.folder = folder
    if let megabytes {
      // What is limited is address space, of which each of many threads would reserve some that it never uses.
      let script = "ulimit -v \(megabytes * 1024); export MALLOC_ARENA_MAX=1 OPENBLAS_NUM_THREADS=1; exec \"$0\" \"$@\""
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      process.arguments = ["-c", script, Self.program] + arguments
    } else if let script {
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      process.arguments = ["-c", script, Self.program] + arguments
    } else {
      process.executableURL = URL(fileURLWithPath: Self.program)
      process.arguments = arguments
    }
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    process.environment = ProcessInfo.processInfo.environment.merging(["GRAFT_CACHE": folder]) { $1 }
    process.standardInput = FileHandle.nullDevice
    // Files rather than pipes: a pipe that nobody empties would stop the program.
    process.standardOutput = try Self.file(folder + "/.out")
    process.standardError = try Self.file(folder + "/.err")
    try process.run()
  }

  /// Sends the program a signal.
  func send(_ signal: Int32) { kill(process.processIdentifier, signal) }

  /// Whether it has not ended.
  var isRunning: Bool { process.isRunning }

  /// Waits for its end; kills it when that takes longer than `seconds`.
  func end(within seconds: Double = 60) -> Ending {
    let deadline = Date().addingTimeInterval(seconds)
    while process.isRunning && Date() < deadline { usleep(2000) }
    if process.isRunning { send(SIGKILL) }
    process.waitUntilExit()
    let code = process.terminationStatus
    return Ending(
      code: process.terminationReason == .exit ? code : -code,
      output: (try? String(contentsOfFile: folder + "/.out", encoding: .utf8)) ?? "",
      errors: (try? String(contentsOfFile: folder + "/.err", encoding: .utf8)) ?? "")
  }

  /// Runs the program to its end, by a shell script if there is one.
  static func run(_ arguments: [String], in folder: String, by script: String? = nil) throws -> Ending {
    try Command(arguments, in: folder, by: script).end()
  }

  private static func file(_ path: String) throws -> FileHandle {
    try Data().write(to: URL(fileURLWithPath: path))
    return try #require(FileHandle(forWritingAtPath: path))
  }

  /// Beside the test bundle, where the build puts both.
  private static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("graft").path
}

/// A folder that is gone when the test is.
final class Scratch {
  let path = NSTemporaryDirectory() + "graft-" + UUID().uuidString

  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Copies a fixture's folder here.
  func copy(_ fixture: String, as name: String) throws {
    try FileManager.default.copyItem(atPath: fixtures + "/" + fixture, toPath: path + "/" + name)
  }

  /// Writes `recipe.yaml`: one step of LoRA on `model` and `train.jsonl`, into `run`.
  func writeOneStepRecipe() throws {
    try write(
      """
      output_dir: run
      model: { path: model }
      adapter: { type: lora, rank: 2 }
      data: { train: train.jsonl }
      train: { max_steps: 1 }
      """, to: "recipe.yaml")
  }

  func write(_ text: String, to name: String) throws {
    try text.write(toFile: path + "/" + name, atomically: false, encoding: .utf8)
  }

  func bytes(_ name: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path + "/" + name)) }
}

extension Scratch {
  /// A folder with a tiny model as `model`, `rows` as `train.jsonl` and the first five of them as `eval.jsonl`.
  convenience init(learning rows: [String]) throws {
    try self.init()
    try copy("models/llama-untied", as: "model")
    try write(rows.joined(separator: "\n"), to: "train.jsonl")
    try write(rows.prefix(5).joined(separator: "\n"), to: "eval.jsonl")
  }

  /// A folder with the small model that comes with Graft, in float, as `name`.
  convenience init(withModel name: String) throws {
    try self.init()
    try exportModel(name)
  }

  /// Puts that model here.
  func exportModel(_ name: String) throws {
    let ending = try Command.run(["export", "embedded", "--to", "hf", "--output", name], in: path)
    try #require(ending.code == 0, "\(ending.errors)")
  }

  /// Rows alike but for two ids: quickly learnt.
  static let rowsAlike = (0..<6).map { "{\"input_ids\": [\($0 + 3), 17, 29, \($0 * 11 + 40), 55, 90]}" }

  /// Rows of 6 to 14 ids that have nothing in common.
  static let rowsOfAllLengths = (0..<24).map { row in
    "{\"input_ids\": [\((0..<(6 + row % 9)).map { String(($0 * 37 + row * 101) % 320) }.joined(separator: ", "))]}"
  }
}

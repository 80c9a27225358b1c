import Adapters
import Files
import Networks

/// A task that an adapter needs, or does not know.
public struct TaskError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The sentence.
  public let description: String
}

extension LoadedModel {
  /// Puts the adapter in `folder` onto this model and, where it routes by task, keeps what it computes for `task` alone:
  /// then the model can write, be measured and be merged like any other.
  ///
  /// - Throws: as ``attach(_:anyBase:)``; a ``TaskError`` when the adapter routes by task and `task` is none of its own,
  ///   or when it does not and one is named.
  @discardableResult
  public mutating func attach(_ folder: String, anyBase: Bool = false, task: String?) throws -> PEFTConfiguration {
    let configuration = try attach(folder, anyBase: anyBase)
    let names = configuration.plan.settings.tasks
    guard network.routesByTask else {
      if let task {
        throw TaskError(
          description: "--task \(task): the adapter in \(folder) computes the same for every task; leave --task out")
      }
      return configuration
    }
    guard !names.isEmpty else {
      throw FileError(folder + "/adapter_config.json", "names none of the tasks its adapter routes")
    }
    let listed = names.prefix(32).joined(separator: ", ") + (names.count > 32 ? ", …" : "")
    guard let task else {
      throw TaskError(
        description: "the adapter in \(folder) computes something else for each task; name one with --task: \(listed)")
    }
    guard let index = configuration.plan.settings.task(named: task) else {
      throw TaskError(
        description: "--task \(task): the adapter in \(folder) knows no such task; its tasks are \(listed)")
    }
    network = network.specialised(to: index)
    return configuration
  }
}

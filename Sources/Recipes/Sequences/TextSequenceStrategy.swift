/// How a sequence of text tasks is learned on one frozen network.
public enum TextSequenceStrategy: String, Sendable, CaseIterable {
  /// An adapter a task, and for classes an output layer a task: nothing is shared, so nothing is forgotten.
  case adapter
  /// One adapter, taught task after task: what forgetting costs.
  case sequential
  /// The same, with kept rows of earlier tasks among each task's own (Chaudhry et al. 2019).
  case replay
  /// The same, held to what earlier tasks needed by their Fisher information (Kirkpatrick et al. 2017).
  case ewc
  /// One inventory of skills, mixed anew for each task, taught task after task (Caccia et al. 2023): the mixtures of
  /// learned tasks stay, the skills do not.
  case mhr
  /// One adapter on all tasks at once: what there is to reach.
  case joint

  /// Whether what serves a task never changes after it was learned.
  public var isIsolated: Bool { self == .adapter }

  /// What it is, in a line.
  public var meaning: String {
    switch self {
    case .adapter: "adapter: one adapter a task, which no other task touches"
    case .sequential: "sequential: one adapter, taught task after task"
    case .replay: "replay: the same, with kept rows of every earlier task mixed in"
    case .ewc: "ewc: the same, pulled back to what earlier tasks needed"
    case .mhr:
      "mhr: one inventory of skills mixed for each task; learned mixtures stay, but the skills are shared; the adapter's dropout and init are not its"
    case .joint: "joint: one adapter on all tasks at once, which is no sequence but what there is to reach"
    }
  }
}

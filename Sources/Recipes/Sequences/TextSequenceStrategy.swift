/// How a sequence of text tasks is learned on one frozen network.
public enum TextSequenceStrategy: String, Sendable, CaseIterable {
  /// An output layer a task on the encoder as it is: what its states give to gradient descent.
  case head
  /// The same solved to the end as a regularised logistic regression: what there is in its states.
  case probe
  /// An adapter a task, and for classes an output layer a task: nothing is shared, so nothing is forgotten.
  case adapter
  /// One adapter, taught task after task: what forgetting costs.
  case sequential
  /// All weights of one model, taught task after task: what forgetting costs where nothing is frozen.
  case full
  /// One adapter again, with kept rows of earlier tasks among each task's own (Chaudhry et al. 2019).
  case replay
  /// The same, held to what earlier tasks needed by their Fisher information (Kirkpatrick et al. 2017).
  case ewc
  /// One inventory of skills, mixed anew for each task, taught task after task (Caccia et al. 2023): the mixtures of
  /// learned tasks stay, the skills do not.
  case mhr
  /// One adapter on all tasks at once: what there is to reach.
  case joint

  /// Whether what serves a task never changes after it was learned.
  public var isIsolated: Bool { [.head, .probe, .adapter].contains(self) }

  /// Whether the task of a text has to be told.
  var isTold: Bool { isIsolated || self == .mhr }

  /// Whether it learns nothing but an output layer, which only a model that tells classes has.
  var needsClasses: Bool { [.head, .probe].contains(self) }

  /// Those that a recipe compares unless it says otherwise.
  public static let standard: [TextSequenceStrategy] = [.adapter, .sequential, .replay, .ewc, .mhr, .joint]

  /// What it is, in a line.
  public var meaning: String {
    switch self {
    case .head: "head: an output layer a task, on an encoder that does not learn"
    case .probe: "probe: the same solved to the end as a regularised logistic regression"
    case .full: "full: all weights of one model, taught task after task; a packed base is unpacked for it"
    case .adapter: "adapter: one adapter a task, which no other task touches"
    case .sequential: "sequential: one adapter, taught task after task"
    case .replay: "replay: one adapter, with kept rows of every earlier task mixed in"
    case .ewc: "ewc: the same, pulled back to what earlier tasks needed"
    case .mhr:
      "mhr: one inventory of skills mixed for each task; learned mixtures stay, but the skills are shared; the adapter's dropout and init are not its"
    case .joint: "joint: one adapter on all tasks at once, which is no sequence but what there is to reach"
    }
  }
}

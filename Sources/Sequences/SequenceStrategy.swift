/// How a sequence of tasks is learned on one frozen network.
public enum SequenceStrategy: String, Sendable, CaseIterable {
  /// An output layer a task, or one that grows; nothing else learns.
  case head
  /// The same solved to the end as a regularised logistic regression: what the frozen features have to give.
  case probe
  /// Channel-wise reprogramming, batch norms and an output layer a task: nothing is shared, so nothing is forgotten.
  case clr
  /// A fresh adapter of any family and an output layer a task.
  case adapter
  /// One adapter, or set of filters and norms, for all tasks, each learned after the other: what forgetting costs.
  case shared
  /// All weights of one network, taught task after task: what forgetting costs where nothing is frozen.
  case full
  /// As `shared`, pulled back to what earlier tasks needed by their Fisher information (Kirkpatrick et al. 2017).
  case ewc
  /// The same, each batch of a task together with kept images of earlier ones (Chaudhry et al. 2019).
  case replay
  /// The same with an inventory of skills, of which each task learns a mixture of its own (Caccia et al. 2023).
  case mhr
  /// The same on all tasks at once: what there is to reach.
  case joint
  /// An adapter a task, pulled together while they learn, and found again by its classes (Sun et al. 2024).
  case mos
  /// An adapter a task where its images are new, found again by features of the frozen network.
  case ear

  /// Those that a recipe compares unless it says otherwise.
  public static let standard: [SequenceStrategy] = [.head, .clr, .shared, .ewc, .replay, .joint]

  /// Whether what serves a task never changes after it was learned, and the task has to be told.
  public var isIsolated: Bool { [.head, .probe, .clr, .adapter].contains(self) }
  /// Whether the body learns, not the output layer alone.
  public var reprograms: Bool { self != .head && self != .probe }
  /// Whether what learns in the body is for the recipe to choose.
  var takesAdapter: Bool { reprograms && self != .clr && self != .full }
  /// Whether it finds the task of an image by itself.
  public var infersTask: Bool { self == .mos || self == .ear }
  /// Whether it learns channel-wise filters and norms where it is given no adapter.
  var fallsBackOnFilters: Bool { [.clr, .shared, .ewc, .replay, .joint].contains(self) }
  /// What its draws are named by. Strategies that learn a task's adapter by itself learn the same one, and those that
  /// share what learns begin with the same numbers and see the same batches: what is between them is no chance.
  var drawName: String {
    switch self {
    case .mos, .ear: SequenceStrategy.adapter.rawValue
    case .full, .ewc, .replay, .joint: SequenceStrategy.shared.rawValue
    default: rawValue
    }
  }
}

import Files
import Foundation
import Networks
import Testing

@testable import Recipes

/// Sequences of text tasks on tiny models, in the process, so that they can be stopped between any two steps.
struct TextSequenceTests {
  private let folder = NSTemporaryDirectory() + "graft-sequence-" + UUID().uuidString
  private let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures").path
  private static let all = (TextSequenceStrategy.standard + [.full]).map(\.rawValue).joined(separator: ", ")

  init() throws {
    try Folder.create(folder)
    for (name, end) in [("a", "55, 90, 120"), ("b", "200, 210, 220"), ("c", "9, 8, 7")] {
      let rows = (0..<7).map { "{\"input_ids\": [\($0 * 3 + 3), 17, 29, \(end)]}\n" }
      try write(rows.joined(), to: "\(name).train.jsonl")
      try write(rows.prefix(3).joined(), to: "\(name).eval.jsonl")
    }
    for (name, classes) in [("x", ["red", "blue"]), ("y", ["up", "down", "left"])] {
      let rows = (0..<12).map { "{\"text\": \"the quick \($0)\", \"label\": \"\(classes[$0 % classes.count])\"}\n" }
      try write(rows.joined(), to: "\(name).train.jsonl")
      try write(rows.prefix(6).joined(), to: "\(name).eval.jsonl")
    }
  }

  private func write(_ text: String, to name: String) throws {
    try text.write(toFile: folder + "/" + name, atomically: true, encoding: .utf8)
  }

  private func task(_ name: String) -> String {
    "{name: \(name), train: \(name).train.jsonl, eval: \(name).eval.jsonl}"
  }

  private func sequence(
    _ output: String, _ strategies: String = all, tasks: String? = nil, model: String = "llama-untied",
    data: String = "{max_seq_len: 32}", more: String = ""
  ) throws -> TextSequenceRecipe {
    let tasks = tasks ?? ["a", "b", "c"].map(task).joined(separator: ", ")
    try write(
      """
      output_dir: \(output)
      model: {path: \(fixtures)/models/\(model)}
      quantization: {packing: int8, group_size: 32, skip: [down_proj]}
      adapter: {type: lora, rank: 2, alpha: 4, dropout: 0.2}
      data: \(data)
      train: {epochs: 2, batch_size: 4, learning_rate: 0.02}
      strategies: [\(strategies)]
      tasks: [\(tasks)]
      memory: 3
      mhr: {skills: 3, heads: 2}
      \(more)
      """, to: output + ".yaml")
    let catalogue = RecipeCatalogue(
      adapterTypes: ["lora", "mhr", "full"], adapterOptions: ["mhr": ["skills", "heads"]], models: [])
    return try TextSequenceRecipe(folder + "/" + output + ".yaml", catalogue: catalogue)
  }

  private func report(_ sequence: TextSequenceRecipe) throws -> SequenceReport {
    try #require(try TextSequenceJob(sequence).run(shouldStop: { false }) { _ in })
  }

  /// All that was told but for times.
  private func outcome(_ report: SequenceReport) -> String {
    var report = report
    report.results = report.results.map { result in
      var result = result
      result.seconds = []
      return result
    }
    return report.json.text(pretty: true)
  }

  /// The bytes of every adapter below `path`, by its place.
  private func adapters(_ path: String) throws -> [String: String] {
    var found: [String: String] = [:]
    for strategy in TextSequenceStrategy.allCases.map(\.rawValue) {
      for place in Folder.names(in: "\(folder)/\(path)/\(strategy)") where place != "untrained" {
        found["\(strategy)/\(place)"] = try Fingerprint.file(
          "\(folder)/\(path)/\(strategy)/\(place)/adapter/adapter_model.safetensors")
      }
    }
    return found
  }

  @Test func `A sequence stopped after every single step ends with the bits of one never stopped`() throws {
    let whole = try report(try sequence("whole")), stopped = try sequence("stopped")
    var calls = 0, stops = 0, ended: SequenceReport?
    while ended == nil {
      // Asked before a task and after each step: go on there, stop here.
      ended = try TextSequenceJob(stopped).run(shouldStop: {
        calls += 1
        return calls % 2 == 0
      }) { _ in }
      if ended == nil { stops += 1 }
    }
    // Two epochs of two steps for each of three tasks; with kept rows up to four a pass; six a pass for all at once.
    #expect(stops >= 4 * 3 * 6)
    #expect(try outcome(whole) == outcome(#require(ended)))
    #expect(try adapters("whole") == adapters("stopped") && adapters("whole").count == 6 * 3 + 1)
  }

  @Test func `A finished sequence given again says the same, seconds and all, and makes no step`() throws {
    let first = try report(try sequence("again", "adapter, replay"))
    var steps = 0
    let second = try TextSequenceJob(try sequence("again", "adapter, replay")).run(shouldStop: { false }) {
      if $0.contains(", step") { steps += 1 }
    }
    #expect(steps == 0 && second?.json == first.json)
    #expect(first.results.allSatisfy { $0.seconds.count == 3 && $0.seconds.allSatisfy { $0 > 0 } })
    // A strategy more joins those that are there.
    #expect(try report(try sequence("again", "adapter, replay, joint")).results.count == 3)
  }

  @Test func `The order of tasks changes nothing where each has an adapter, and much where they share one`() throws {
    let one = try report(try sequence("abc", "adapter, sequential"))
    let other = try report(
      try sequence("cab", "adapter, sequential", tasks: ["c", "a", "b"].map(task).joined(separator: ", ")))
    let places = [1, 2, 0]
    for (task, place) in places.enumerated() {
      #expect(one.results[0].matrix[2, task] == other.results[0].matrix[2, place])
    }
    let (first, second) = (try adapters("abc"), try adapters("cab"))
    for (name, place) in [("a", 2), ("b", 3), ("c", 1)] {
      let number = ["a": 1, "b": 2, "c": 3][name] ?? 0
      #expect(first["adapter/\(number)-\(name)"] == second["adapter/\(place)-\(name)"])
    }
    #expect(first["sequential/2-b"] != second["sequential/3-b"])
    #expect(one.results[0].outputsUnchanged == true && other.results[0].outputsUnchanged == true)
    #expect(one.results[0].matrix.forgettingFromBest == 0)
    #expect(one.notes.contains { $0.contains("the same after the last") })
  }

  @Test func `An adapter that was touched after its task was learned is told, not passed over`() throws {
    _ = try report(try sequence("touched", "adapter"))
    let place = "\(folder)/touched/adapter/1-a/adapter/adapter_model.safetensors"
    try FileManager.default.removeItem(atPath: place)
    try FileManager.default.copyItem(
      atPath: "\(folder)/touched/adapter/2-b/adapter/adapter_model.safetensors", toPath: place)
    let again = try report(try sequence("touched", "adapter"))
    #expect(again.results[0].outputsUnchanged == false)
    #expect(again.text.contains("CHANGED") && again.notes.contains { $0.contains("are NOT those") })
    #expect(again.results[0].matrix.forgettingSinceLearned ?? 0 > 0)
  }

  @Test func `The first task is learned alike by all that share nothing yet, and learned mixtures stay`() throws {
    let report = try report(try sequence("alike"))
    let adapters = try adapters("alike")
    for strategy in ["sequential", "replay", "ewc"] { #expect(adapters["\(strategy)/1-a"] == adapters["adapter/1-a"]) }
    #expect(adapters["sequential/2-b"] != adapters["ewc/2-b"] && adapters["sequential/2-b"] != adapters["replay/2-b"])
    func logits(_ place: String) throws -> [String: [[Float]]] {
      let file = try Safetensors("\(folder)/alike/mhr/\(place)/adapter/adapter_model.safetensors")
      var found: [String: [[Float]]] = [:]
      for name in file.names where name.hasSuffix("module_logits") {
        let entry = try file.entry(name), values = try entry.floats(), width = entry.shape[1]
        found[name] = (0..<3).map { Array(values[$0 * width..<($0 + 1) * width]) }
      }
      return found
    }
    let (one, two, three) = (try logits("1-a"), try logits("2-b"), try logits("3-c"))
    #expect(!one.isEmpty)
    for (name, rows) in one {
      #expect(rows[0] == two[name]?[0] && rows[0] == three[name]?[0] && two[name]?[1] == three[name]?[1])
      #expect(rows[1] != two[name]?[1] && rows[2] == two[name]?[2])
    }
    #expect(report.measure == .loss && report.results.allSatisfy { $0.predictions.isEmpty })
    #expect(report.results.map(\.matrix.baseline).dropFirst().allSatisfy { !$0.contains(nil) })
  }

  @Test func `Tasks of other classes are told apart among their own`() throws {
    let report = try report(
      try sequence(
        "classes", TextSequenceStrategy.allCases.map(\.rawValue).joined(separator: ", "),
        tasks: [task("x"), task("y")].joined(separator: ", "), model: "bert-cls",
        data: "{format: classification, max_seq_len: 32}"))
    #expect(report.measure == .accuracy)
    #expect(report.tasks.map(\.classNames) == [["blue", "red"], ["down", "left", "up"]])
    #expect(report.tasks[1].labels == [2, 0, 1, 2, 0, 1] && report.tasks[1].examples == [1, 2, 3, 4, 5, 6])
    for result in report.results {
      #expect(result.predictions.map(\.count) == [6, 6])
      for (task, told) in zip(report.tasks, result.predictions) {
        #expect(told.allSatisfy { task.classNames.indices.contains(Int($0)) })
      }
      // What is told of the last row of the matrix is what the predictions say.
      let right = zip(report.tasks[1].labels, result.predictions[1]).count { $0 == $1 }
      #expect(result.matrix[1, 1] == Double(right) / 6)
    }
    #expect(report.notes[0].contains("5 classes in all"))
    let lines = try String(contentsOfFile: folder + "/classes/predictions.csv", encoding: .utf8).split(separator: "\n")
    #expect(lines.count == 1 + 9 * 12 && lines[0] == "strategy,task,example,label,predicted")
  }

  @Test func `Output layers alone add nothing to the body and are the same in any order, and full changes all of it`()
    throws
  {
    func learned(_ output: String, _ tasks: [String]) throws -> SequenceReport {
      try report(
        try sequence(
          output, "head, probe, full", tasks: tasks.map(task).joined(separator: ", "), model: "bert-cls",
          data: "{format: classification, max_seq_len: 32}", more: "full: {learning_rate: 0.001}"))
    }
    let one = try learned("xy", ["x", "y"]), other = try learned("yx", ["y", "x"])
    let body = try #require(one.results.last).addedToBody[0]
    // The head the file came with is not of the body.
    #expect(one.results.prefix(2).allSatisfy { $0.addedToBody == [0, 0] } && body > 0 && body < one.bodySize)
    for (number, result) in one.results.prefix(2).enumerated() {
      #expect(result.added[1] * 2 == result.added[0] * 3 && result.outputsUnchanged == true)
      #expect(result.matrix[1, 0] == other.results[number].matrix[1, 1])
      #expect(result.matrix[1, 1] == other.results[number].matrix[1, 0])
    }
    let (first, second) = (try adapters("xy"), try adapters("yx"))
    for name in ["head", "probe"] {
      #expect(first["\(name)/1-x"] == second["\(name)/2-x"] && first["\(name)/2-y"] == second["\(name)/1-y"])
    }
    #expect(first["full/1-x"] != second["full/2-x"])
  }

  @Test func `An output layer solved to the end places every row it was solved for, and is kept when given again`()
    throws
  {
    let texts = [("the quick", "up"), ("quick the", "down"), ("the the quick", "left")]
    try write(
      texts.map { "{\"text\": \"\($0)\", \"label\": \"\($1)\"}\n" }.joined(), to: "words.train.jsonl")
    func solved() throws -> SequenceReport {
      try report(
        try sequence(
          "solved", "probe", tasks: "{name: words, train: words.train.jsonl, eval: words.train.jsonl}",
          model: "bert-cls",
          data: "{format: classification, max_seq_len: 32}", more: "probe: {strength: 10000}"))
    }
    let first = try solved()
    #expect(first.results[0].matrix[0, 0] == 1)
    #expect(try solved().json == first.json)
  }

  @Test func `What replay and ewc keep for the next task counts among the bytes`() throws {
    let results = try report(try sequence("bytes", "sequential, replay, ewc")).results
    let state = results[0].addedBytes[0]
    // Three rows of six tokens of each of two tasks; two numbers for each that learns.
    #expect(results[1].addedBytes == [state + 2 * 3 * 6 * 4])
    #expect(results[2].addedBytes == [state + 2 * 4 * results[2].added[0]])
  }

  @Test func `Of tasks with the same classes those that choose what serves a task are told it, the others are not`()
    throws
  {
    let files = "train: x.train.jsonl, eval: x.eval.jsonl"
    let report = try report(
      try sequence(
        "told", "head, adapter, sequential, mhr", tasks: "{name: x, \(files)}, {name: again, \(files)}",
        model: "bert-cls",
        data: "{format: classification, max_seq_len: 32}"))
    #expect(report.results.map(\.scenario) == [.task, .task, .domain, .task])
    #expect(
      report.text.contains("scenario task: the task is told") && report.text.contains("scenario domain: the task"))
  }

  private func refusal(_ body: () throws -> Void) -> String {
    do { try body() } catch { return "\(error)" }
    return "nothing"
  }

  @Test func `What a recipe gets wrong is told with its place, all at once`() throws {
    let told = refusal {
      _ = try sequence(
        "wrong", "adapter, sequental", tasks: "{name: a, train: a.train.jsonl}, {name: a/b}",
        more: "ewc: {lamda: 3}\nmerge: {output: m}\ndata_field: 3")
    }
    for part in [
      "strategy 'sequental' is not known; expected some of head, probe, adapter, sequential",
      "did you mean 'sequential'?",
      "task 'a' has only one of train and eval", "task 'a/b' cannot name a folder", "'ewc.lamda' is no key",
      "did you mean 'lambda'?", "'merge.output' has no place in a sequence", "unknown key 'data_field'",
    ] { #expect(told.contains(part), "\(part)\n\(told)") }
    let head = refusal { _ = try report(try sequence("head", "adapter, head")) }
    #expect(
      head.contains("head.yaml:7:1: 'head' learns an output layer that tells classes, and the model writes text"),
      "\(head)")
    #expect(!Folder.exists(folder + "/head"))
    #expect(refusal { _ = try sequence("w", tasks: "{name: a}") }.contains("w.yaml:8:1: 'tasks' has 'a' without files"))
    // The files of one task are not another's to select from.
    let borrowed = refusal {
      _ = try sequence("w", tasks: task("a") + ", {name: b}", data: "{max_seq_len: 32, task_field: topic}")
    }
    #expect(borrowed.contains("'tasks' has 'b' without files"), "\(borrowed)")
  }

  @Test func `Tasks that cannot be learned are refused before anything is written`() throws {
    try write("", to: "empty.jsonl")
    try write("{\"prompt\": \"p\", \"completion\": \"c\"}\n", to: "other.jsonl")
    try write("{\"text\": \"t\", \"label\": \"red\"}\n{\"text\": \"u\", \"label\": \"red\"}\n", to: "one.jsonl")
    try write("{\"text\": \"t\", \"label\": \"green\"}\n", to: "green.jsonl")
    try write("{\"text\": \"t\", \"topic\": \"a\"}\n", to: "topics.jsonl")
    func told(_ second: String, model: String = "llama-untied", data: String = "{max_seq_len: 32}") -> String {
      let first = task(model == "bert-cls" ? "x" : "a")
      return refusal {
        _ = try report(try sequence("refused", tasks: first + ", " + second, model: model, data: data))
      }
    }
    func files(_ train: String, _ eval: String) -> String { "{name: z, train: \(train), eval: \(eval)}" }
    #expect(told(files("empty.jsonl", "b.eval.jsonl")).contains("holds no row for task 'z' to learn"))
    #expect(told(files("b.train.jsonl", "empty.jsonl")).contains("holds no row for task 'z' to be judged by"))
    #expect(told(files("no.jsonl", "b.eval.jsonl")).contains("no.jsonl: cannot be opened"))
    let other = told(files("other.jsonl", "other.jsonl"))
    #expect(other.contains("task 'z' has rows of prompt_completion, task 'a' of ids"), "\(other)")
    let classes = "{format: classification, max_seq_len: 32}"
    let one = told(files("one.jsonl", "one.jsonl"), model: "bert-cls", data: classes)
    #expect(one.contains("names one class in task 'z', 'red'"), "\(one)")
    let green = told(files("x.train.jsonl", "green.jsonl"), model: "bert-cls", data: classes)
    #expect(green.contains("judges task 'z' by class 'green', which no row to learn from has"), "\(green)")
    let unlabelled = told(files("a.train.jsonl", "a.eval.jsonl"), model: "bert-cls", data: classes)
    #expect(unlabelled.contains("has a row of task 'z' whose 'label' names no class"), "\(unlabelled)")
    let topics = told(
      "{name: q}", data: "{train: topics.jsonl, eval: topics.jsonl, task_field: topic, max_seq_len: 32}")
    #expect(topics.contains("none whose 'topic' is 'q'"), "\(topics)")
    #expect(!Folder.exists(folder + "/refused"))
  }

  @Test func `A folder of another sequence is refused, whatever differs`() throws {
    _ = try report(try sequence("mine", "adapter", tasks: [task("a"), task("b")].joined(separator: ", ")))
    func told(_ tasks: [String], _ more: String = "") -> String {
      refusal {
        _ = try report(
          try sequence("mine", "adapter", tasks: tasks.map(task).joined(separator: ", "), more: more))
      }
    }
    #expect(told(["b", "a"]).contains("holds another sequence, of another tasks"))
    #expect(told(["a", "b"], "seed: 7").contains("holds another sequence, of another recipe"))
    // The same name, other rows.
    try write("{\"input_ids\": [1, 2, 3]}\n", to: "a.train.jsonl")
    #expect(told(["a", "b"]).contains("another tasks"))
  }
}

import Files
import Foundation
import Testing

/// `graft sequence` as a user runs it, on the trunk and the images that come with Graft.
struct SequenceTests {
  private let scratch: Scratch
  private let data = URL(fileURLWithPath: fixtures).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Data").path

  init() throws { scratch = try Scratch() }

  private func recipe(_ changes: [String: String] = [:], more: String = "") throws {
    let task =
      "{name: animals, train: \(data)/animals/train.h5, test: \(data)/animals/test.h5, parts: 2, per_class: 4, test_per_class: 6}"
    var keys = [
      "output_dir": "out", "model": "\(data)/cifar-trunk", "image_size": "32", "strategies": "[head, clr, shared]",
      "tasks": "[\(task)]", "train": "{epochs: 2, batch_size: 10, learning_rate: 1e-3}",
    ]
    keys.merge(changes) { $1 }
    let text = keys.filter { !$0.value.isEmpty }.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)\n" }.joined()
    try scratch.write(text + more, to: "sequence.yaml")
  }

  private func run() throws -> Command.Ending {
    try Command(["sequence", "sequence.yaml", "--json"], in: scratch.path).end(within: 120)
  }

  @Test func `A sequence leaves tables, pictures and a page, and proves what it did not forget`() throws {
    try recipe()
    let ending = try run()
    try #require(ending.code == 0, "\(ending.errors)")
    let results = try #require(try JSON(parsing: ending.output)["results"]?.array)
    #expect(results.map { $0["strategy"]?.string } == ["head", "clr", "shared"])
    #expect(results[1]["outputs_unchanged"] == .bool(true) && results[2]["outputs_unchanged"] == .null)
    // A 3 x 3 filter and four numbers of a norm for each of 384 channels.
    #expect(results[1]["numbers_added_without_head"]?.array?.compactMap(\.int) == [384 * 13, 384 * 13])
    #expect(results[1]["accuracy"]?.array?.count == 2)
    // Four convolutions; for each of 384 channels a bias, two weights of a norm and two moments.
    let body = (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128) * 9 + 5 * 384
    #expect(try JSON(parsing: ending.output)["body_numbers"]?.int == body)
    let folder = scratch.path + "/out"
    for name in ["results.json", "accuracies.csv", "predictions.csv", "clr.svg", "report.html"] {
      #expect(Folder.exists(folder + "/" + name), "\(name)")
    }
    let predictions = try String(contentsOfFile: folder + "/predictions.csv", encoding: .utf8).split(separator: "\n")
    #expect(predictions.count == 1 + 3 * 2 * 5 * 6)
    // Given again it reads what it has learned.
    let again = try run()
    #expect(again.code == 0 && !again.errors.contains("epoch"))
    let outcome = { (text: String) in try JSON(parsing: text)["results"]?.array?.map { $0["accuracy"] } }
    #expect(try outcome(again.output) == outcome(ending.output))
  }

  @Test func `A recipe's mistakes are told with their places before anything runs`() throws {
    let task = "{name: a, train: \(data)/animals/train.h5, test: \(data)/animals/test.h5}"
    try recipe(["scenario": "class", "strategies": "[head, clrr, clr]", "tasks": "[\(task), \(task)]"])
    let ending = try Command.run(["validate", "sequence.yaml"], in: scratch.path)
    #expect(ending.code == 2)
    for words in [
      "did you mean 'clr'?", "two tasks are called 'a'",
      "strategy 'clr' has to be told the task, which scenario 'class' does not",
    ] { #expect(ending.errors.contains(words), "\(ending.errors)") }
    #expect(ending.errors.contains("sequence.yaml:"), "\(ending.errors)")
  }

  @Test func `A set is not written over the files it is made of`() throws {
    try scratch.write(try [UInt8](Data(contentsOf: URL(fileURLWithPath: data + "/animals/test.h5"))), to: "set.h5")
    let before = try Data(contentsOf: URL(fileURLWithPath: scratch.path + "/set.h5"))
    let ending = try Command.run(["data", "import", "set.h5", "./set.h5", "--limit", "10"], in: scratch.path)
    #expect(ending.code == 3 && ending.errors.contains("would be written over what is read"), "\(ending.errors)")
    #expect(try Data(contentsOf: URL(fileURLWithPath: scratch.path + "/set.h5")) == before)
  }

  @Test(arguments: [
    ("mosa", "[convolution]", "adapter type 'mosa' has no form for convolutions"),
    ("bottleneck", "all-linear", "stands around residual branches, of which this model has none"),
  ])
  func `A family that has no place in a network says so`(_ type: String, _ targets: String, _ words: String) throws {
    let adapter = "{type: \(type), target_modules: \(targets)}"
    try recipe(["strategies": "[{name: one, strategy: adapter, adapter: \(adapter)}]"])
    let ending = try run()
    #expect(ending.code == 2 && ending.errors.contains(words), "\(ending.errors)")
  }

  @Test func `Strategies that find the task tell how often, and what seemed strange`() throws {
    let adapter = "{type: lora, rank: 2, target_modules: [convolution]}"
    try recipe([
      "scenario": "class", "strategies": "[head, probe, mos, ear]", "adapter": adapter,
      "mos": "{alignment_epochs: 2, covariance: diagonal}",
      "ear": "{held_out: [\(data)/fashion/test.h5], held_out_limit: 40}",
    ])
    let ending = try run()
    try #require(ending.code == 0, "\(ending.errors)")
    let results = try #require(try JSON(parsing: ending.output)["results"]?.array)
    #expect(results.map { $0["scenario"]?.string } == ["class", "class", "class", "class"])
    #expect(results[2]["inference"]?["found_refined"]?.double != nil && results[0]["inference"] == .null)
    let gate = try #require(results[3]["gate"])
    // Clothes are nothing like animals.
    #expect((gate["held_out"]?.array?.first?["auroc"]?.double ?? 0) > 0.9, "\(gate)")
    #expect(results[3]["outputs_unchanged"] == .bool(true))
    let again = try Command(["sequence", "sequence.yaml"], in: scratch.path).end(within: 120)
    for part in ["scenario class: the task is not told", "AUROC", "task found at first sight", "a task: animals-1"] {
      #expect(again.output.contains(part), "\(again.output)")
    }
    let predictions = try String(contentsOfFile: scratch.path + "/out/predictions.csv", encoding: .utf8)
    #expect(predictions.contains("head,animals-2,") && predictions.contains(",9,"))
    // Finished, it tells the seconds that were measured.
    let first = results.map { $0["seconds"] }, second = try JSON(parsing: try run().output)["results"]?.array
    #expect(second?.map { $0["seconds"] } == first)
  }

  @Test func `A signal ends a sequence of images at once, and what its epochs learned is kept`() throws {
    try recipe(["strategies": "[head]", "train": "{epochs: 10000, batch_size: 10, learning_rate: 1e-3}"])
    let command = try Command(["sequence", "sequence.yaml"], in: scratch.path)
    let kept = scratch.path + "/out/head/1-animals-1/unfinished/epoch.json"
    let deadline = Date().addingTimeInterval(60)
    while !Folder.exists(kept) && command.isRunning && Date() < deadline { usleep(2000) }
    command.send(SIGTERM)
    #expect(command.end(within: 10).code == -SIGTERM)
    #expect(Folder.exists(kept))
  }

  @Test func `What a recipe of a sequence gets wrong is told with its place, all at once`() throws {
    try recipe(["strategies": "[head, clrr]", "train": "{epoch: 2}", "model": ""], more: "claser: 3\n")
    let ending = try run()
    #expect(ending.code == 2)
    for part in [
      "strategy 'clrr' is not known; expected some of head, probe, clr", "'train.epoch' is no key of a sequence",
      "did you mean 'epochs'?", "'claser' is no key", "'model' is missing",
    ] { #expect(ending.errors.contains(part), "\(part)\n\(ending.errors)") }
    #expect(!Folder.exists(scratch.path + "/out"))
  }

  @Test func `What a recipe gets wrong about augmentation is told with its place, by validate too`() throws {
    try recipe(
      [
        "augment":
          "{rotaton: 5, rotation: 181, crop_padding: 1.5, horizontal_flip: maybe, brightness: 2, contrast: -0.1}"
      ])
    let check = try Command.run(["validate", "sequence.yaml"], in: scratch.path), ending = try run()
    #expect(check.code == 2 && ending.code == 2)
    for part in [
      "1:11: 'augment.rotaton' is no key of a sequence",
      "1:33: 'augment.rotation' must be a number of degrees in [0, 180]",
      "1:52: 'augment.crop_padding' must be a whole",
      "1:74: 'augment.horizontal_flip' must be true or false", "1:93: 'augment.brightness' must be a number in [0, 1]",
      "1:106: 'augment.contrast' must be a number in [0, 1]",
    ] {
      #expect(check.errors.contains("sequence.yaml:" + part), "\(part)\n\(check.errors)")
      #expect(ending.errors.contains("sequence.yaml:" + part), "\(part)\n\(ending.errors)")
    }
    try recipe(["augment": "{rotation: 5}", "strategies": "[probe]"])
    #expect(try run().errors.contains("'augment' is of no use"))
    try recipe(["augment": "{crop_padding: 32}"])
    let wide = try run()
    #expect(wide.code == 2 && wide.errors.contains("cannot be moved by up to 32 pixels; expected 0 to 31"))
    #expect(!Folder.exists(scratch.path + "/out"))
  }

  @Test func `A folder is gone on with by the same augmentation alone`() throws {
    func end(_ augment: String, _ output: String) throws -> Command.Ending {
      try recipe(["strategies": "[head]", "augment": augment, "output_dir": output])
      return try run()
    }
    let first = try end("{crop_padding: 2}", "out")
    #expect(first.code == 0 && first.errors.contains("the frozen stages run anew on them in head"), "\(first.errors)")
    #expect(try JSON(parsing: first.output)["notes"]?.array?.count == 1)
    #expect(try end("{crop_padding: 2}", "out").code == 0)
    for other in ["{crop_padding: 3}", "{crop_padding: 2, horizontal_flip: true}", ""] {
      let ending = try end(other, "out")
      #expect(ending.code == 3 && ending.errors.contains("holds another sequence"), "\(ending.errors)")
    }
    let plain = try end("", "plain")
    #expect(plain.code == 0 && !plain.errors.contains("anew"))
    #expect(try end("{rotation: 0}", "plain").code == 0)
  }

  @Test func `Wrong data and folders of another sequence are refused`() throws {
    func refused(_ changes: [String: String], _ code: Int32, _ part: String) throws {
      try recipe(changes)
      let ending = try run()
      #expect(ending.code == code && ending.errors.contains(part), "\(ending.code) \(ending.errors)")
    }
    let images = "train: \(data)/animals/train.h5, test: \(data)/animals/test.h5"
    try refused(["tasks": "[{name: a, \(images), parts: 3}]"], 2, "10 classes cannot be cut into 3 equal parts")
    try refused(["tasks": "[{name: a, \(images), classes: [cat, unicorn]}]"], 3, "has no class 'unicorn'")
    try refused(["tasks": "[{name: a, \(images), classes: [cat]}]"], 3, "has 1 class(es)")
    try refused(
      ["tasks": "[{name: a, train: \(data)/animals/train.h5, test: \(data)/fashion/test.h5}]"], 3, "has others")
    try refused(["tasks": "[{name: a, train: nothing.h5, test: nothing.h5}]"], 3, "is not there")
    try refused(["model": "\(data)/embedded"], 3, "holds no config.json")
    try refused(["image_size": "40"], 2, "reads images of 32 × 32 alone")
    try refused(
      [
        "scenario": "domain", "strategies": "[head]", "tasks": "[{name: a, \(images), parts: 2}, {name: b, \(images)}]",
      ], 2,
      "in scenario 'domain' class k of every task is the same")
    try refused(["scenario": "class"], 2, "strategy 'clr' has to be told the task")
    try refused(["strategies": "[{strategy: adapter, adapter: {type: lora}}]"], 2, "as in [convolution]")
    try refused(["strategies": "[{strategy: adapter, adapter: {type: lora, rnak: 3}}]"], 2, "did you mean 'rank'")
    try refused(["strategies": "[{strategy: adapter, adapter: {rank: 3}}]"], 2, "'adapter.type' is missing")
    try refused(["strategies": "[{strategy: adapter, adapter: {type: corda}}]"], 2, "needs calibration")
    try refused(["strategies": "[head, {name: head, strategy: clr}]"], 2, "two strategies are called 'head'")
    try refused(["strategies": "[{name: a/b, strategy: head}]"], 2, "cannot name a folder")
    try refused(
      ["scenario": "class", "strategies": "[mos]", "mos": "{samples: 1000}", "train": "{batch_size: 65536}"], 2,
      "lower mos.samples or train.batch_size")
    try refused(["mos": "{alpha: 2}", "ear": "{stage: 2}"], 2, "did you mean 'stages'?")
    try refused(["strategies": "[]"], 2, "must be a list of strategies")
    try refused(["strategies": "[head]", "ear": "{stages: 2}"], 2, "'ear' is of no use")
    try refused(["strategies": "[{name: curves, strategy: head}]"], 2, "as a file of the sequence's own")
    try refused(["clr": "{variant: half}"], 2, "must be full, reduced, scalar, gated")
    try recipe(["strategies": "[head]"])
    #expect(try run().code == 0)
    try refused(["strategies": "[head]", "seed": "7"], 3, "holds another sequence")
    let lock = open(scratch.path + "/out/.lock", O_RDWR)
    defer { close(lock) }
    #expect(flock(lock, LOCK_EX | LOCK_NB) == 0)
    try refused(["strategies": "[head]"], 3, "is in use by another run")
    flock(lock, LOCK_UN)
    // The same names, other contents: a network with one byte changed, and a strategy of another adapter.
    let network = scratch.path + "/network"
    try FileManager.default.copyItem(atPath: data + "/cifar-trunk", toPath: network)
    func lora(_ rank: Int) -> [String: String] {
      [
        "model": "network", "output_dir": "second", "train": "{epochs: 1, batch_size: 10, learning_rate: 1e-3}",
        "strategies":
          "[{name: lora, strategy: adapter, adapter: {type: lora, rank: \(rank), target_modules: [convolution]}}]",
      ]
    }
    try recipe(lora(2))
    #expect(try run().code == 0)
    try refused(lora(3), 3, "holds another sequence")
    let weights = network + "/model.safetensors"
    var bytes = try Data(contentsOf: URL(fileURLWithPath: weights))
    bytes[bytes.count - 4] ^= 1
    try bytes.write(to: URL(fileURLWithPath: weights))
    try refused(lora(2), 3, "holds another sequence")
  }
}

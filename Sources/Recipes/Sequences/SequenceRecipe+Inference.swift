import Sequences

// The sections of strategies that find the task of an image by themselves.
extension SequenceRecipe {
  mutating func readMOS(_ node: RecipeNode, _ context: inout ReadingContext) {
    let known = [
      "alpha", "orthogonality", "temperature", "rounds", "covariance", "alignment_epochs", "alignment_rate", "samples",
    ]
    var mos = settings.mos
    PlainRecipe.forEach(node, "mos.", known, of: "a sequence", &context) { key, node, context in
      switch key {
      case "alpha": mos.merging = Codec.number("in [0, 1]") { $0 >= 0 && $0 <= 1 }.read(node, &context) ?? 0
      case "orthogonality": mos.orthogonality = Codec.number("≥ 0") { $0 >= 0 }.read(node, &context) ?? 0
      case "temperature": mos.temperature = Codec.number("> 0") { $0 > 0 }.read(node, &context) ?? 1
      case "rounds": mos.rounds = Codec.integer(0...100).read(node, &context) ?? 0
      case "covariance":
        guard let text = Codec.text.read(node, &context) else { return }
        guard let kind = MOSSettings.Covariance(rawValue: text) else { return context.expected("full, diagonal", node) }
        mos.covariance = kind
      case "alignment_epochs": mos.alignmentEpochs = Codec.integer(0...10_000).read(node, &context) ?? 0
      case "alignment_rate": mos.alignmentRate = Codec.number("> 0") { $0 > 0 }.read(node, &context) ?? 1
      default: mos.samples = Codec.integer(1...1000).read(node, &context) ?? 1
      }
    }
    settings.mos = mos
  }

  mutating func readEAR(_ node: RecipeNode, _ context: inout ReadingContext) {
    let known = ["stages", "width", "false_alarms", "validation", "window", "held_out", "held_out_limit"]
    var ear = settings.ear, sets = heldOut, limit = heldOutLimit
    PlainRecipe.forEach(node, "ear.", known, of: "a sequence", &context) { key, node, context in
      switch key {
      case "stages": ear.stages = Codec.integer(1...1000).read(node, &context) ?? 1
      case "width": ear.width = Codec.integer(1...100_000).read(node, &context)
      case "false_alarms": ear.falseAlarms = Codec.number("in (0, 1)") { $0 > 0 && $0 < 1 }.read(node, &context) ?? 0.05
      case "validation": ear.validation = Codec.number("in (0, 1)") { $0 > 0 && $0 < 1 }.read(node, &context) ?? 0.2
      case "window": ear.window = Codec.integer(1...1_000_000).read(node, &context) ?? 1
      case "held_out":
        guard case .sequence(let items) = node.content else { return context.expected("a list of sets", node) }
        sets = items.map { Self.set($0, &context) }
      default: limit = Codec.integer(1...1_000_000).read(node, &context) ?? 1
      }
    }
    (settings.ear, heldOut, heldOutLimit) = (ear, sets, limit)
  }
}

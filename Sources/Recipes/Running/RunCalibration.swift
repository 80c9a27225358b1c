import Adapters
import Autodiff
import Files
import Networks
import Text

/// What a family wants to know of the layers before it starts: measured, or taken from where it was kept.
struct RunCalibration: Sendable {
  /// By layer; empty where the family asks nothing.
  let statistics: [String: SiteStatistics]
  /// The digest of the tokens read; nil where nothing was asked.
  let digest: String?
  /// The line of the header.
  let line: String?

  /// Where nothing is to be measured.
  static let none = RunCalibration()

  private init() { (statistics, digest, line) = ([:], nil, nil) }

  /// What `method` asks for.
  static func wanted(_ method: String, _ settings: AdapterSettings) throws -> Statistics {
    try Catalogue.linear.first { $0.method == method }?.statistics(settings) ?? []
  }

  /// Measures what the plan's family asks for.
  ///
  /// - Parameter base: a text that changes whenever the model computes something else.
  /// - Throws: a ``FileError`` for data or a statistics file that cannot be used, a ``RecipeError`` for too little data.
  init(
    _ recipe: Recipe, _ model: LoadedModel, _ plan: GraftPlan, training: [Example], base: String, random: RandomKey
  ) throws {
    let wanted = try Self.wanted(plan.method, plan.settings)
    guard !wanted.isEmpty else {
      self = .none
      return
    }
    let section = recipe.calibration ?? Recipe.Calibration()
    let examples = try Self.rows(section, recipe, model, training, random), rows = examples.map(\.ids)
    let sites = try model.network.linearSites(of: plan)
    var widths: [String: Int] = [:], heights: [String: Int] = [:]
    var copy = model.network
    copy.forEachLinear { (widths[$0], heights[$0]) = ($1.base.inputs, $1.base.outputs) }
    let tokens = rows.reduce(0) { $0 + $1.count }
    try Self.check(recipe, sites, widths, wanted, rows: rows.count, tokens: tokens)
    // A gradient depends on what the rows are to predict.
    let read = wanted.contains(.gradient) ? examples.map { "\($0.ids)\($0.labels)" } : rows.map { "\($0)" }
    let digest = Fingerprint.text(read.joined(separator: "\n"))
    var note = ""
    var found: [String: SiteStatistics]?
    let file = section.statistics.map { StatisticsFile($0.path, base: base, data: digest) }
    if let file {
      switch try file.read(wanted, of: sites, widths: widths, heights: heights) {
      case .found(let statistics): (found, note) = (statistics, ", taken from \(displayed(file.path))")
      case .stale(let reason): note = ", measured anew and kept in \(displayed(file.path)): \(reason)"
      }
    }
    if found == nil {
      var measured = try Calibration.measure(model.network, wanted, of: sites, on: rows)
      if wanted.contains(.gradient) {
        for (site, squares) in try Calibration.gradientSquares(model.network, of: sites, on: examples) {
          measured[site]?.gradient = squares
        }
      }
      try file?.write(measured)
      found = measured
    }
    (statistics, self.digest) = (found ?? [:], digest)
    line = "calibration  \(grouped(rows.count)) rows, \(grouped(tokens)) tokens, through \(sites.count) layers\(note)"
  }

  /// The rows to read: those of the section's file, or the training rows; at most as many as it says, drawn by the seed.
  private static func rows(
    _ section: Recipe.Calibration, _ recipe: Recipe, _ model: LoadedModel, _ training: [Example], _ random: RandomKey
  ) throws -> [Example] {
    var examples = training
    if let path = section.data?.path {
      let reader = try ExampleReader(
        tokenizer: try model.requireTokenizer(), template: model.template,
        options: try RunData.options(recipe, model))
      examples = try reader.read(path).examples
    }
    let drawn = Set(random.permutation(examples.count).prefix(section.maxRows))
    return examples.indices.filter(drawn.contains).map { examples[$0] }
  }

  /// Refuses data that cannot tell a layer's inputs apart.
  private static func check(
    _ recipe: Recipe, _ sites: [String], _ widths: [String: Int], _ wanted: Statistics, rows: Int, tokens: Int
  ) throws {
    guard wanted.contains(.secondMoment), let widest = sites.max(by: { widths[$0] ?? 0 < widths[$1] ?? 0 }),
      let width = widths[widest], tokens < width
    else { return }
    let isCut = recipe.origin(of: "calibration.max_rows") != .default || recipe.calibration?.data == nil
    throw RecipeError(
      [
        recipe.problem(
          isCut ? "calibration.max_rows" : "calibration.data",
          "\(rows) rows hold \(tokens) tokens, fewer than the \(width) inputs of layer '\(widest)': their second moment would have no inverse",
          hint: "give more or longer rows: raise calibration.max_rows, or name a larger file in calibration.data")
      ], path: recipe.origin)
  }
}

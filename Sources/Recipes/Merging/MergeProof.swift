import Autodiff
import Files
import Networks

/// How two models that should agree differ on a text.
public struct MergeProof: Sendable, Equatable {
  /// The tokens compared.
  public let tokens: Int
  /// The largest and the mean difference of a logit.
  public let maxDifference: Double, meanDifference: Double
  /// The largest magnitude of the reference's logits.
  public let largestLogit: Double
  /// KL(reference ‖ candidate), nats a token, or a text where classes are told apart.
  public let divergence: Double
  /// The share of positions at which both find the same token likeliest.
  public let agreement: Double
  /// Whether all logits of the reference were finite: without that nothing is compared.
  public let referenceIsFinite: Bool

  /// Compares the logits of `candidate` with those of `reference` on sequences of ids.
  public init(reference: any TextNetwork, candidate: any TextNetwork, on sequences: [[Int32]]) {
    var tokens = 0, rows = 0, agreeing = 0, referenceIsFinite = true
    var largest = 0.0, largestLogit = 0.0, total = 0.0, divergence = 0.0, count = 0
    for ids in sequences where !ids.isEmpty {
      let (a, b) = (reference.logits(TokenBatch([ids])), candidate.logits(TokenBatch([ids])))
      tokens += ids.count
      rows += a.shape.rows
      referenceIsFinite = referenceIsFinite && a.isFinite
      if a.isFinite && b.isFinite {
        divergence += Double(divergenceSum(student: b, teacher: a).scalar)
        agreeing += zip(a.rowArgmax, b.rowArgmax).count { $0 == $1 }
      } else {
        divergence = .nan
      }
      a.withValues { a in
        b.withValues { b in
          for i in a.indices {
            let difference = Double(abs(a[i] - b[i]))
            // Not max(): a NaN must be seen, not passed over, and stays.
            if !largest.isNaN, !(difference <= largest) { largest = difference }
            total += difference
            largestLogit = max(largestLogit, Double(abs(a[i])))
          }
          count += a.count
        }
      }
    }
    (self.tokens, self.largestLogit, self.referenceIsFinite) = (tokens, largestLogit, referenceIsFinite)
    (maxDifference, meanDifference) = (largest, count > 0 ? total / Double(count) : 0)
    self.divergence = rows > 0 ? divergence / Double(rows) : 0
    agreement = rows > 0 ? Double(agreeing) / Double(rows) : 1
  }
}

/// What a merge must reach to count as faithful.
public struct MergeBounds: Sendable, Equatable {
  /// The largest KL divergence, nats a token.
  public var maxDivergence = 0.02
  /// The smallest share of positions with the same likeliest token.
  public var minAgreement = 0.98
  /// The smallest share of a layer's change that must be there.
  public var minSurvival = 0.5

  /// The defaults.
  public init() {}
}

/// The result of a merge: what was written, and whether it does what base and adapter did together.
public struct MergeReport: Sendable {
  /// The file or folder.
  public let path: String
  /// The form of the changed weights.
  public let format: MergeFormat
  /// The comparison with base and adapter, by what was read back from disk.
  public let proof: MergeProof
  /// How much of each changed layer is there.
  public let layers: [LayerSurvival]
  /// What it was held to.
  public let bounds: MergeBounds

  /// The layers whose change did not survive.
  public var lost: [LayerSurvival] { layers.filter { !($0.survival >= bounds.minSurvival) } }
  /// Whether every bound holds, on one token at least.
  public var holds: Bool {
    proof.tokens > 0 && proof.referenceIsFinite && lost.isEmpty && proof.divergence <= bounds.maxDivergence
      && proof.agreement >= bounds.minAgreement
      && proof.maxDifference.isFinite
  }

  /// The report as lines of text.
  public var text: String {
    let survivals = layers.map(\.survival).sorted()
    let median = survivals.isEmpty ? 1 : survivals[survivals.count / 2]
    var lines = [
      "merged (\(format.rawValue)) \(displayed(path))",
      "  read back and compared with base + adapter on \(proof.tokens) tokens:",
      "  logit difference   max \(number(proof.maxDifference))   mean \(number(proof.meanDifference))",
      "  KL divergence      \(number(proof.divergence)) nats a token (bound \(number(bounds.maxDivergence)))",
      "  top-1 agreement    \(percent(proof.agreement)) (bound \(percent(bounds.minAgreement)))",
      "  change that survived, of \(layers.count) layers   min \(percent(survivals.first ?? 1))   median \(percent(median)) (bound \(percent(bounds.minSurvival)))",
    ]
    if holds {
      lines.append("  verdict            the merged model does what base + adapter do")
    } else {
      lines += advice
    }
    return lines.joined(separator: "\n")
  }

  private var advice: [String] {
    var lines = ["  verdict            NOT faithful: the file was written, but do not trust it"]
    for layer in lost.prefix(12) {
      lines.append("    \(layer.name)   \(percent(layer.survival)) of its change left in \(layer.packing)")
    }
    if lost.count > 12 { lines.append("    … and \(lost.count - 12) more") }
    var remedies = ["keep the adapter beside its base (nothing is lost)"]
    if format != .full { remedies.append("merge with --format full") }
    if format != .full, !lost.isEmpty { remedies.append("raise the layers above to eight bits: --raise q8_0") }
    let last = remedies.removeLast()
    lines.append(
      "  what to do: " + (remedies + [(remedies.isEmpty ? "" : "or ") + last]).joined(separator: ",\n              "))
    return lines
  }

  /// The report as JSON, one object.
  public var json: JSON {
    .object([
      "path": .string(path), "format": .string(format.rawValue), "holds": .bool(holds),
      "tokens": .integer(proof.tokens), "max_logit_difference": .finite(proof.maxDifference),
      "mean_logit_difference": .finite(proof.meanDifference), "kl": .finite(proof.divergence),
      "top1_agreement": .finite(proof.agreement),
      "layers": .array(
        layers.map {
          .object([
            "name": .string($0.name), "packing": .string($0.packing), "relative_change": .finite($0.relativeChange),
            "survival": .finite($0.survival),
          ])
        }),
    ])
  }
}

extension JSON {
  /// A number, or null for what JSON has no number for.
  static func finite(_ value: Double) -> JSON { value.isFinite ? .number(value) : .null }
}

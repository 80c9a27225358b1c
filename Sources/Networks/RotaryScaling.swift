import Autodiff
import Files
import Glibc

/// How a model turns positions into rotary angles: a base and one of the ways to stretch it to longer texts.
public struct RotaryScaling: Sendable, Equatable {
  /// θ; pair i of d/2 turns by θ^(−2i/d) a position.
  public var base: Double
  /// How the frequencies are stretched.
  public var kind: Kind

  /// The ways this package knows.
  public enum Kind: Sendable, Equatable {
    /// As trained.
    case none
    /// Every frequency divided by a factor.
    case linear(factor: Double)
    /// Llama 3.1: low frequencies divided, high ones kept, those between blended.
    case llama3(factor: Double, low: Double, high: Double, original: Double)
    /// One divisor a pair, as a GGUF's `rope_freqs.weight` gives them.
    case divisors([Double])
  }

  /// Plain rotary embedding with base θ.
  public init(base: Double, kind: Kind = .none) { (self.base, self.kind) = (base, kind) }

  init(json: JSON, path: String, contextLength: Int) throws {
    // Transformers 5 writes one object; earlier versions a base and an optional scaling object.
    let parameters = json["rope_parameters"]
    let reader = ConfigurationReader(json: parameters ?? json, path: path)
    base = try reader.number("rope_theta", default: 10000)
    guard base > 1 else { throw FileError(path, at: "key 'rope_theta'", "\(base) is not above 1") }
    let scaling = parameters ?? json["rope_scaling"] ?? .null
    let type = scaling["rope_type"]?.string ?? scaling["type"]?.string ?? "default"
    let values = ConfigurationReader(json: scaling, path: path)
    switch type {
    case "default": kind = .none
    case "linear": kind = .linear(factor: try values.number("factor", default: 1))
    case "llama3":
      kind = .llama3(
        factor: try values.number("factor", default: 8), low: try values.number("low_freq_factor", default: 1),
        high: try values.number("high_freq_factor", default: 4),
        original: try values.number("original_max_position_embeddings", default: 8192))
    default:
      throw FileError(
        path, at: "key 'rope_scaling'", "type \(quoted(type)) is not supported; expected default, linear or llama3")
    }
  }

  init(gguf: GGUF, architecture: String, contextLength: Int) throws {
    func value(_ key: String) -> GGUFValue? { gguf.metadata["\(architecture).rope.\(key)"] }
    base = value("freq_base")?.double ?? 10000
    guard base > 1 else {
      throw FileError(gguf.path, at: "key '\(architecture).rope.freq_base'", "\(base) is not above 1")
    }
    let type = value("scaling.type")?.string ?? "none"
    if let tensor = gguf["rope_freqs.weight"] {
      kind = .divisors(try GGUFSource.floats(tensor).map(Double.init))
    } else if type == "linear" {
      kind = .linear(factor: value("scaling.factor")?.double ?? value("scale_linear")?.double ?? 1)
    } else if type == "none" {
      kind = .none
    } else {
      throw FileError(
        gguf.path, at: "key '\(architecture).rope.scaling.type'",
        "\(quoted(type)) is not supported; expected none or linear")
    }
  }

  /// The angle a position of each pair of a head of `size` channels, in radians.
  func frequencies(headSize: Int) -> [Double] {
    let plain = (0..<headSize / 2).map { pow(base, -2 * Double($0) / Double(headSize)) }
    switch kind {
    case .none: return plain
    case .linear(let factor): return plain.map { $0 / factor }
    case .divisors(let divisors): return zip(plain, divisors).map { $0 / $1 }
    case .llama3(let factor, let low, let high, let original):
      return plain.map { frequency in
        let wavelength = 2 * Double.pi / frequency
        if wavelength < original / high { return frequency }
        if wavelength > original / low { return frequency / factor }
        let blend = (original / wavelength - low) / (high - low)
        return (1 - blend) * frequency / factor + blend * frequency
      }
    }
  }

  /// What divides each pair's plain frequency, as a GGUF holds it; nil where its metadata say enough.
  public func divisors(headSize: Int) -> [Float]? {
    guard case .llama3 = kind else { return nil }
    let plain = RotaryScaling(base: base).frequencies(headSize: headSize)
    return zip(plain, frequencies(headSize: headSize)).map { Float($0 / $1) }
  }

  /// The `rope_scaling` object of a `config.json`.
  ///
  /// - Throws: when the frequencies were given one by one, which a `config.json` cannot say.
  func json(path: String) throws -> JSON {
    switch kind {
    case .none: .null
    case .divisors:
      throw FileError(
        path, at: "tensor 'rope_freqs.weight'", "rotary divisors given one by one have no form in a config.json",
        remedy: "export to GGUF instead")
    case .linear(let factor): .object(["rope_type": .string("linear"), "factor": .number(factor)])
    case .llama3(let factor, let low, let high, let original):
      .object([
        "rope_type": .string("llama3"), "factor": .number(factor), "low_freq_factor": .number(low),
        "high_freq_factor": .number(high), "original_max_position_embeddings": .integer(Int(original)),
      ])
    }
  }
}

import Files

/// The sizes of a network of inverted bottlenecks, read from Graft's own `config.json`.
///
///     {"model_type": "efficientnet-lite", "image_size": 224, "num_labels": 1000}
///
/// | key | meaning | efficientnet-lite | mobilenet_v2 |
/// |---|---|---|---|
/// | `blocks` | rows `[repeats, channels, kernel, stride, expansion]` | Lite0's | MobileNetV2's |
/// | `width_coefficient`, `depth_coefficient` | what its channels and repeats are multiplied by | 1, 1 | 1, 1 |
/// | `stem_channels`, `top_channels` | channels of the first and of the last convolution | 32, 1280 | 32, 1280 |
/// | `batch_norm_eps` | ε of the norms | 0.001 | 0.001 |
/// | `image_size`, `rescale_factor`, `image_mean`, `image_std` | the images | 224, 1, 127, 128 | 224, 1/127.5, 1, 1 |
/// | `num_labels` or `id2label` | the classes | | |
///
/// EfficientNet-Lite1 to 4 have widths 1, 1.1, 1.2, 1.4 and depths 1.1, 1.2, 1.4, 1.8, for images of 240, 260, 280, 300.
public struct MobileNetConfiguration: Sendable, Equatable {
  /// Blocks of one kind, one behind another.
  public struct Group: Sendable, Equatable {
    /// How many blocks, and the channels behind them.
    public var repeats: Int, channels: Int
    /// The side of the filters, how far the first block moves them, and by what the channels inside are more.
    public var kernel: Int, stride: Int, expansion: Int
  }

  /// `efficientnet-lite` or `mobilenet_v2`.
  public var family: String
  /// The images it was made for and how it reads them.
  public var preparation: ImageFormat
  /// Channels of the first and of the last convolution.
  public var stem: Int, top: Int
  /// The blocks.
  public var groups: [Group]
  /// ε of the norms.
  public var epsilon: Float
  /// The names of the classes.
  public var labels: [String]

  /// The families this type covers.
  public static let families = ["efficientnet-lite", "mobilenet_v2"]

  /// Reads the configuration.
  ///
  /// - Throws: a ``FileError`` naming the key that is missing or makes no network.
  public init(json: JSON, preprocessor: JSON? = nil, path: String) throws {
    let reader = ConfigurationReader(json: json, path: path)
    family = try reader.string("model_type")
    guard Self.families.contains(family) else {
      throw FileError(
        path, at: "key 'model_type'",
        "\(quoted(family)) is not supported; expected \(Self.families.joined(separator: " or "))")
    }
    let isLite = family == "efficientnet-lite"
    let scaling =
      isLite ? PixelScaling(scale: 1, mean: 127, deviation: 128) : PixelScaling(scale: 1 / 127.5, mean: 1)
    preparation = try ImageFormat(
      reader, preprocessor: preprocessor, standard: ImageFormat(side: 224, scaling))
    let width = try Self.coefficient("width_coefficient", reader)
    let depth = try Self.coefficient("depth_coefficient", reader)
    // EfficientNet-Lite leaves both ends as they are; MobileNet scales the first.
    let first = try reader.size("stem_channels", atMost: 1 << 14, default: 32)
    stem = isLite ? first : Self.rounded(first, width)
    top = try reader.size("top_channels", atMost: 1 << 16, default: 1280)
    let rows = try Self.rows(json, path) ?? (isLite ? Self.lite0 : Self.mobileNetV2)
    groups = rows.enumerated().map { index, row in
      let isEnd = index == 0 || index == rows.count - 1
      let repeats = isEnd ? row[0] : Int((Double(row[0]) * depth).rounded(.up))
      return Group(
        repeats: repeats, channels: Self.rounded(row[1], width), kernel: row[2], stride: row[3], expansion: row[4])
    }
    epsilon = Float(try reader.number("batch_norm_eps", default: 1e-3))
    guard epsilon > 0, epsilon < 1 else {
      throw FileError(path, at: "key 'batch_norm_eps'", "\(epsilon) is not between 0 and 1")
    }
    labels = try reader.classLabels()
  }

  private static let lite0 = [
    [1, 16, 3, 1, 1], [2, 24, 3, 2, 6], [2, 40, 5, 2, 6], [3, 80, 3, 2, 6], [3, 112, 5, 1, 6], [4, 192, 5, 2, 6],
    [1, 320, 3, 1, 6],
  ]
  private static let mobileNetV2 = [
    [1, 16, 3, 1, 1], [2, 24, 3, 2, 6], [3, 32, 3, 2, 6], [4, 64, 3, 2, 6], [3, 96, 3, 1, 6], [3, 160, 3, 2, 6],
    [1, 320, 3, 1, 6],
  ]

  private static func coefficient(_ key: String, _ reader: ConfigurationReader) throws -> Double {
    let value = try reader.number(key, default: 1)
    guard value > 0, value <= 8 else { throw FileError(reader.path, at: "key '\(key)'", "\(value) is not from 0 to 8") }
    return value
  }

  /// The multiple of 8 nearest to `channels` · `factor`, but never less than nine tenths of it.
  private static func rounded(_ channels: Int, _ factor: Double) -> Int {
    if factor == 1 { return channels }
    let wanted = Double(channels) * factor
    let near = max(8, Int(wanted + 4) / 8 * 8)
    return Double(near) < 0.9 * wanted ? near + 8 : near
  }

  private static func rows(_ json: JSON, _ path: String) throws -> [[Int]]? {
    guard let value = json["blocks"], !value.isNull else { return nil }
    let rows = (value.array ?? []).map { ($0.array ?? []).compactMap(\.int) }
    let limits = [1024, 1 << 14, 15, 2, 32]
    let fits = rows.allSatisfy { row in
      row.count == 5 && zip(row, limits).allSatisfy { (1...$1).contains($0) } && row[2] % 2 == 1
    }
    guard (1...64).contains(rows.count), fits else {
      throw FileError(
        path, at: "key 'blocks'",
        "expected rows [repeats, channels, kernel, stride, expansion], the kernel odd and the stride 1 or 2")
    }
    return rows
  }
}

import Files

/// What images a network was made for and how it reads their bytes, as a checkpoint's folder tells.
///
/// `preprocessor_config.json` is asked first, as transformers writes it (`crop_size`, `size`, `rescale_factor`,
/// `image_mean`, `image_std`, `do_rescale`, `do_normalize`), then `config.json` under the same keys and `image_size`.
public struct ImageFormat: Sendable, Equatable {
  /// The sizes of an image.
  public var input: ImageShape
  /// How its bytes become numbers.
  public var scaling: PixelScaling

  /// Reads both files' JSON; `standard` holds where neither says otherwise.
  ///
  /// - Throws: a ``FileError`` for a size that is none and for means that are not one a channel.
  init(_ configuration: ConfigurationReader, preprocessor: JSON?, standard: ImageFormat) throws {
    let json = configuration.json, path = configuration.path
    func found(_ key: String) -> JSON? {
      [preprocessor?[key], json[key]].lazy.compactMap(\.self).first { !$0.isNull }
    }
    let channels = try configuration.size("num_channels", atMost: 64, default: standard.input.channels)
    input = ImageShape(channels: channels, height: standard.input.height, width: standard.input.width)
    if let size = [preprocessor?["crop_size"], preprocessor?["size"], json["image_size"]].lazy.compactMap(\.self).first(
      where: { !$0.isNull })
    {
      guard let sides = Self.sides(size) else {
        throw FileError(
          path, at: "key 'image_size'", "\(quoted(size.text())) is no size of an image",
          remedy: "expected a number of pixels, [height, width], or height and width by name, from 1 to 4096")
      }
      (input.height, input.width) = sides
    }
    func perChannel(_ key: String, _ standard: [Float]) throws -> [Float] {
      guard let value = found(key) else {
        return standard.count == channels ? standard : .init(repeating: standard.first ?? 0, count: channels)
      }
      let numbers = value.array?.compactMap { $0.double.map { Float($0) } } ?? value.double.map { [Float($0)] } ?? []
      guard numbers.count == channels || numbers.count == 1, numbers.allSatisfy(\.isFinite) else {
        throw FileError(path, at: "key '\(key)'", "\(quoted(value.text())) is not one number a channel, of \(channels)")
      }
      return numbers.count == channels ? numbers : .init(repeating: numbers[0], count: channels)
    }
    let scale =
      found("do_rescale")?.bool == false ? 1 : found("rescale_factor")?.double ?? Double(standard.scaling.scale)
    var mean = try perChannel("image_mean", standard.scaling.mean)
    var deviation = try perChannel("image_std", standard.scaling.deviation)
    if found("do_normalize")?.bool == false {
      (mean, deviation) = (.init(repeating: 0, count: channels), .init(repeating: 1, count: channels))
    }
    guard scale.isFinite, scale > 0, deviation.allSatisfy({ $0 > 0 }) else {
      throw FileError(path, at: "key 'image_std'", "a scale or deviation is not above 0")
    }
    scaling = PixelScaling(scale: Float(scale), mean: mean, deviation: deviation)
  }

  /// A preparation of square images.
  init(channels: Int = 3, side: Int, _ scaling: PixelScaling) {
    (input, self.scaling) = (ImageShape(channels: channels, height: side, width: side), scaling)
  }

  private static func sides(_ size: JSON) -> (Int, Int)? {
    let numbers: [Int?]
    if let side = size.int ?? size["shortest_edge"]?.int {
      numbers = [side, side]
    } else if let pair = size.array {
      numbers = pair.map(\.int)
    } else {
      numbers = [size["height"]?.int, size["width"]?.int]
    }
    guard numbers.count == 2, let height = numbers[0], let width = numbers[1], (1...4096).contains(height),
      (1...4096).contains(width)
    else { return nil }
    return (height, width)
  }
}

extension PixelScaling {
  /// By those of the images that CLIP was trained with.
  static let clip = PixelScaling(
    scale: 1 / 255, mean: [0.48145466, 0.4578275, 0.40821073], deviation: [0.26862954, 0.26130258, 0.27577711])
  /// By the means and deviations of ImageNet's training images, which most networks were trained with.
  static let imageNet = PixelScaling(scale: 1 / 255, mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225])
}

extension ConfigurationReader {
  /// The names of the classes: `id2label`, else `LABEL_0` and so on for `num_labels`, 2 where neither is there.
  func classLabels() throws -> [String] {
    guard let named = json["id2label"]?.object else {
      return (0..<(try size("num_labels", atMost: 1 << 20, default: 2))).map { "LABEL_\($0)" }
    }
    let labels = (0..<named.count).compactMap { named[String($0)]?.string }
    guard labels.count == named.count, !labels.isEmpty else {
      throw FileError(path, at: "key 'id2label'", "does not name the classes 0 to \(named.count - 1)")
    }
    return labels
  }

  /// A list of whole numbers from 1 to `limit`.
  func sizes(_ key: String, atMost limit: Int, default fallback: [Int]) throws -> [Int] {
    guard let value = json[key], !value.isNull else { return fallback }
    let numbers = (value.array ?? []).compactMap(\.int)
    guard let count = value.array?.count, count == numbers.count, (1...64).contains(count),
      numbers.allSatisfy({ (1...limit).contains($0) })
    else {
      throw FileError(
        path, at: "key '\(key)'", "\(quoted(value.text())) is no list of whole numbers from 1 to \(limit)")
    }
    return numbers
  }

  /// Refuses any value of `key` but `value`, which is also meant where it is missing.
  func require(_ key: String, is value: String) throws {
    if let text = json[key]?.string, text != value {
      throw FileError(path, at: "key '\(key)'", "\(quoted(text)) is not supported; expected \(value)")
    }
  }
}

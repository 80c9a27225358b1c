/// The names a recipe may use that other targets define.
public struct RecipeCatalogue: Sendable, Equatable {
  /// Valid for `adapter.type`.
  public var adapterTypes: [String]
  /// Further keys of the adapter section, by adapter type.
  public var adapterOptions: [String: [String]]
  /// Valid for `quantization.packing`.
  public var packings: [String]
  /// Valid for `model.path` besides folders and files.
  public var models: [String]

  /// Names beyond those every build knows.
  public init(
    adapterTypes: [String] = ["lora", "dora", "full"],
    adapterOptions: [String: [String]] = [:],
    packings: [String] = [
      "int2", "int4", "int8", "nf4", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k",
      "q1_0", "q2_0", "q2_k", "q3_k", "iq4_nl", "iq4_xs", "mxfp4", "nvfp4",
    ],
    models: [String] = ["smollm2", "embedded"]
  ) {
    self.adapterTypes = adapterTypes
    self.adapterOptions = adapterOptions
    self.packings = packings
    self.models = models
  }
}

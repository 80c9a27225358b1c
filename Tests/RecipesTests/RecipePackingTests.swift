import Files
import Networks
import Testing
import Weights

@testable import Recipes

/// The types of weights in blocks that GGUF files may hold.
private let blockTypes = GGUFType.allCases.filter { $0.blockSize > 1 }

@Test(arguments: blockTypes)
func `A recipe may pack its base and its export in any GGUF type of weights`(_ type: GGUFType) throws {
  let name = type.name.lowercased()
  let packed = try parse(small("quantization: {packing: \(name)}"))
  #expect(try RunPlan.packing(packed)?.gguf == type)
  let exported = try parse(small("export: {gguf: x.gguf, gguf_type: \(name)}"))
  #expect(try exported.export.map { try Packing(parsing: $0.ggufType.rawValue).gguf } == type)
}

@Test func `Every name a recipe may give a packing is one`() throws {
  for name in RecipeCatalogue().packings { #expect(throws: Never.self) { try Packing(parsing: name) } }
  for type in Recipe.GGUFStorage.allCases where type != .keep {
    #expect(try Packing(parsing: type.rawValue).gguf != nil)
  }
}

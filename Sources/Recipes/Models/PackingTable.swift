import Networks
import Weights

/// The packings there are, for a person to choose from.
public enum PackingTable {
  /// Those without a fixed name, by an example: what stands in place of the number, and the names it can be given.
  private static let families: [(example: String, meaning: String)] = [
    ("int1-g64", "integers of 1, 2, 3, 4 or 8 bits in groups of 32, 64, … columns, or int4-row"),
    ("int2-g64", ""), ("int3-g64", ""), ("int4-g64", ""), ("int8-g64", ""),
    ("int4-g128-f16-zero", "as GPTQ and AWQ lay them out: half scales and a zero code"),
    ("nf4-g64", "levels of the normal float"), ("fp4-g32", "4-bit floats: two exponent bits"),
    ("fp4e1-g32", "one exponent bit"), ("fp4e3-g32", "three exponent bits"), ("bnbfp4-g64", "the one of bitsandbytes"),
    ("fp4-g32-e8", "scales that are powers of two: MXFP4 in a folder"),
    ("bfp2-g32", "signed mantissas of 2, 3, 4 or 8 bits that share an exponent"),
    ("bfp3-g32", ""), ("bfp4-g32", ""), ("bfp8-g32", ""),
    ("int4-g64-out", "groups along the outputs"), ("pb10", "10 of a hundred in 8 bits, the others a sign"),
  ]

  /// A line a packing: its name, bits a weight, how many columns share a scale, and whether a GGUF file holds it.
  public static var text: String {
    let examples = families.compactMap { family in
      (try? Packing(parsing: family.example)).map { ($0, family.meaning) }
    }
    let rows = (Packing.fixed.map { ($0, "") } + examples).map { packing, meaning in
      [
        packing.name, number(packing.bitsPerWeight), packing.blockSize == 1 ? "any" : String(packing.blockSize),
        packing.gguf == nil ? "folder" : "GGUF or folder", meaning,
      ]
    }
    return alignedColumns([["packing", "bits", "columns", "file", ""]] + rows).map { row in
      let line = row.joined(separator: "   ")
      return String(line[..<(line.lastIndex { $0 != " " }.map(line.index(after:)) ?? line.startIndex)])
    }.joined(separator: "\n")
  }
}

import Files
import Foundation
import Testing

/// What a quantisation keeps while it is not done, and what signals leave of it and of a merge.
@Suite(.serialized)
struct WorkFolderTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch(withModel: "model")
    try scratch.write(String(repeating: "The quick brown fox jumps over the lazy dog. ", count: 400), to: "text.txt")
  }

  private let quantize = [
    "quantize", "model", "--packing", "int3-g32", "--method", "gptq", "--calibration", "text.txt", "--length", "32",
    "--sequences", "48", "--output", "out",
  ]

  private func run(_ arguments: [String]) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  /// Starts a command and sends `signal` as soon as `isReached` says so.
  private func interrupt(
    _ arguments: [String], with signal: Int32, once isReached: () -> Bool
  ) throws -> Command.Ending {
    let command = try Command(arguments, in: scratch.path)
    while command.isRunning, !isReached() { usleep(200) }
    command.send(signal)
    return command.end()
  }

  /// Starts a quantisation and ends it after its first block.
  private func begin(_ signal: Int32) throws -> Command.Ending {
    let first = scratch.path + "/out.work/block-0.sum"
    return try interrupt(quantize, with: signal) { Folder.exists(first) }
  }

  private func leftovers(in folder: String = "") -> [String] {
    Folder.names(in: scratch.path + folder).filter { $0.contains("partial") }
  }

  @Test func `A folder that is not Graft's work is neither used nor removed`() throws {
    try Folder.create(scratch.path + "/out.work")
    try scratch.write("mine", to: "out.work/mine.txt")
    let refused = try run(["quantize", "model", "--packing", "int4-g32", "--output", "out"])
    #expect(refused.code == 3 && refused.errors.contains("holds 'mine.txt', which is none"), "\(refused.errors)")
    #expect(try scratch.bytes("out.work/mine.txt") == Data("mine".utf8) && !Folder.exists(scratch.path + "/out"))
  }

  @Test func `What was put into a work folder later is left there`() throws {
    _ = try begin(SIGKILL)
    try scratch.write("mine", to: "out.work/mine.txt")
    let ending = try run(quantize)
    #expect(ending.code == 0, "\(ending.errors)")
    #expect(Folder.names(in: scratch.path + "/out.work") == ["mine.txt"])
  }

  @Test(arguments: [(SIGINT, 130), (SIGTERM, 143)] as [(Int32, Int32)])
  func `A signal ends a quantisation with a line on what is kept, and it goes on from there to the same bytes`(
    _ signal: Int32, _ code: Int32
  ) throws {
    try #require(try run(quantize).code == 0)
    let whole = try scratch.bytes("out/model.safetensors")
    let stopped = try begin(signal)
    #expect(stopped.code == code, "\(stopped.errors)")
    let line = "interrupted: finished blocks are kept in out.work, and the same command goes on there\n"
    #expect(stopped.errors.hasSuffix(line), "\(stopped.errors)")
    // The earlier result is untouched.
    #expect(try scratch.bytes("out/model.safetensors") == whole)
    let again = try run(quantize)
    #expect(again.code == 0 && again.errors.contains("found finished"), "\(again.errors)")
    #expect(try scratch.bytes("out/model.safetensors") == whole && !Folder.exists(scratch.path + "/out.work"))
  }

  @Test func `Two at once do not meet: the second is refused`() throws {
    let first = try Command(quantize, in: scratch.path)
    while first.isRunning, !Folder.exists(scratch.path + "/out.work/block-0.sum") { usleep(200) }
    try Folder.create(scratch.path + "/elsewhere")
    var second = quantize
    (second[1], second[second.count - 1]) = ("../model", "../out")
    second[7] = "../text.txt"
    let refused = try Command.run(second, in: scratch.path + "/elsewhere")
    #expect(refused.code == 3 && refused.errors.contains("is in use by another graft quantize"), "\(refused.errors)")
    let ending = first.end()
    #expect(ending.code == 0, "\(ending.errors)")
  }

  @Test func `A damaged stream is told with the folder to remove`() throws {
    _ = try begin(SIGKILL)
    let path = "out.work/stream-0.h5"
    var bytes = try scratch.bytes(path)
    for index in bytes.count / 2..<bytes.count / 2 + 64 { bytes[index] ^= 255 }
    try bytes.write(to: URL(fileURLWithPath: scratch.path + "/" + path))
    for name in Folder.names(in: scratch.path + "/out.work") where name != "stream-0.h5" && name.hasPrefix("stream-") {
      Folder.remove(scratch.path + "/out.work/" + name)
    }
    let ending = try run(quantize)
    #expect(ending.code == 3 && ending.errors.contains("; remove out.work to begin anew"), "\(ending.errors)")
  }

  @Test(arguments: ["merged", "merged.gguf"])
  func `A merge that is ended before its proof leaves nothing, and says so`(_ output: String) throws {
    try scratch.write(Scratch.rowsAlike.joined(separator: "\n"), to: "train.jsonl")
    try scratch.writeOneStepRecipe()
    try #require(try run(["train", "recipe.yaml"]).code == 0)
    let merge = ["merge", "model", "run/adapter", "--probe", "text.txt", "--output", output]
    let stopped = try interrupt(merge, with: SIGTERM) {
      output == "merged"
        ? leftovers().contains { Folder.exists(scratch.path + "/\($0)/model.safetensors") } : !leftovers().isEmpty
    }
    #expect(stopped.code == 143 && stopped.errors == "interrupted: nothing was written\n", "\(stopped.errors)")
    #expect(!Folder.exists(scratch.path + "/" + output) && leftovers().isEmpty, "\(leftovers())")
    let killed = try interrupt(merge, with: SIGKILL) { !leftovers().isEmpty }
    #expect(killed.code == -SIGKILL && !Folder.exists(scratch.path + "/" + output))
    let ending = try run(merge)
    #expect(ending.code == 0, "\(ending.errors)")
    // A folder begun by a dead process is swept where folders are replaced.
    if output.hasSuffix(".gguf") { #expect(leftovers().isEmpty, "\(leftovers())") }
  }
}

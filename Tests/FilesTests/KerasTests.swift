import CHDF5
import Glibc
import Testing

@testable import Files

struct KerasTests {
  let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// Checks that a file holds what a safetensors file does, and nothing else.
  private func expectEqual(_ file: some NamedArrays, _ reference: String) throws {
    let expected = try Safetensors(fixturePath(reference))
    #expect(file.names.sorted() == expected.names.sorted())
    for name in expected.names {
      let entry = try file.entry(name), wanted = try expected.entry(name)
      #expect(entry.type == wanted.type && entry.shape == wanted.shape, "\(name)")
      #expect(try entry.withBytes(Array.init) == wanted.withBytes(Array.init), "\(name)")
    }
  }

  @Test func `A model of Keras 2 is read layer after layer without its optimiser`() throws {
    let file = try KerasWeights(fixturePath("keras-old.h5"))
    try expectEqual(file, "keras-old.safetensors")
    #expect(file.version == "2.0.5")
    #expect(try file.configuration()?["config"]?["name"]?.string == "sequential")
    #expect(
      file.layers == [
        .init(name: "conv2d", arrays: ["conv2d/conv2d/kernel:0", "conv2d/conv2d/bias:0"]),
        .init(name: "activation", arrays: []),
        .init(name: "depthwise", arrays: ["depthwise/depthwise/depthwise_kernel:0"]),
        .init(name: "dense", arrays: ["dense/dense_1/kernel:0", "dense/dense_1/count:0"]),
      ])
    #expect(file.names == file.layers.flatMap(\.arrays))
  }

  @Test func `A model in a model of Keras 3 keeps both names`() throws {
    let file = try KerasWeights(fixturePath("keras-nested.h5"))
    try expectEqual(file, "keras-nested.safetensors")
    #expect(file.version == "3.11.3" && file.layers.map(\.name) == ["input_layer", "trunk", "top"])
    #expect(try file.entry("trunk/Conv1/kernel").shape == [1, 1, 2, 3])
    #expect(file.note == "Keras 3.11.3, 3 layers, with a configuration")
  }

  @Test func `Lists that Keras cut into pieces are whole again`() throws {
    let file = try KerasWeights(fixturePath("keras-pieces.h5"))
    try expectEqual(file, "keras-pieces.safetensors")
    #expect(file.layers.map(\.name) == ["a", "b"])
    #expect(try file.configuration() == .object(["k": .string("v")]))
  }

  @Test func `Weights of Keras 3 are read group by group in the order of their numbers`() throws {
    let file = try KerasWeights(fixturePath("keras.weights.h5"))
    try expectEqual(file, "keras.weights.safetensors")
    #expect(file.layers.map(\.name) == ["stem", "middle", "last"])
    #expect(file.layers.first?.arrays == ["layers/conv2d/vars/0", "layers/conv2d/vars/1"])
    #expect(try file.configuration() == nil && file.version == nil)
  }

  @Test func `Every type is read in either byte order`() throws {
    try expectEqual(try KerasWeights(fixturePath("every.h5")), "every-hdf5.safetensors")
  }

  @Test func `Numbers in names count as numbers`() {
    let ordered = ["a", "a1", "a2", "a2b", "a10", "a10b", "a11", "b0", "b00x"]
    for (index, name) in ordered.enumerated() {
      #expect(!naturallyPrecedes(name, name))
      for later in ordered[(index + 1)...] {
        #expect(naturallyPrecedes(name, later) && !naturallyPrecedes(later, name), "\(name) \(later)")
      }
    }
  }

  /// Makes a file with the library itself, as another program would.
  private func foreign(_ body: (_ file: Int64) -> Void) -> String {
    let path = scratch.path + "/foreign.h5"
    HDF5Library.enter {
      let file = H5Fcreate(path, graft_H5F_ACC_TRUNC(), 0, 0)
      body(file)
      H5Fclose(file)
    }
    return path
  }

  private func dataset(_ file: Int64, _ name: String, _ type: Int64) {
    let space = H5Screate_simple(1, [2], nil)
    let made = H5Dcreate2(file, name, type, space, 0, 0, 0)
    let values: [Float] = [1, 2]
    if H5Tget_class(type) == H5T_FLOAT { H5Dwrite(made, graft_H5T_NATIVE_FLOAT(), 0, 0, 0, values) }
    H5Dclose(made)
    H5Sclose(space)
  }

  /// Notes texts of any length at the root.
  private func note(_ file: Int64, _ name: String, _ texts: [String]) {
    let type = H5Tcopy(graft_H5T_C_S1()), space = H5Screate_simple(1, [UInt64(texts.count)], nil)
    // The library's mark for any length is the largest size there is.
    H5Tset_size(type, -1)
    H5Tset_cset(type, H5T_CSET_UTF8)
    let attribute = H5Acreate2(file, name, type, space, 0, 0)
    let copies = texts.map { strdup($0) }
    H5Awrite(attribute, type, copies)
    for copy in copies { free(copy) }
    H5Aclose(attribute)
    H5Sclose(space)
    H5Tclose(type)
  }

  @Test func `A configuration of more than 64 KiB is read whole`() throws {
    let long = "{\"text\": \"" + String(repeating: "ä", count: 100_000) + "\"}"
    let path = foreign { file in
      dataset(file, "w", graft_H5T_IEEE_F32LE())
      note(file, "model_config", [long])
    }
    let file = try KerasWeights(path)
    #expect(try file.configuration()?["text"]?.string?.count == 100_000)
    #expect(try file.floats("w", shape: [2]) == [1, 2])
    let broken = foreign { file in
      dataset(file, "w", graft_H5T_IEEE_F32LE())
      note(file, "model_config", ["{"])
    }
    #expect(
      message { _ = try KerasWeights(broken).configuration() }.hasPrefix("foreign.h5: attribute 'model_config': "))
  }

  // Walked by the library, an object of no size that is said to be free space would never end.
  @Test func `A heap of texts whose sizes do not add up is refused before the library sees it`() throws {
    let whole = try fixture("keras-nested.h5")
    let heap = try #require((0..<whole.count - 4).first { Array(whole[$0..<$0 + 4]) == Array("GCOL".utf8) })
    for (index, size) in [(UInt16(0), UInt64(0)), (0, 8), (0, .max), (1, .max - 15), (1, 1 << 40)] {
      var bytes = whole
      bytes.replaceSubrange(heap + 16..<heap + 18, with: littleEndian(index))
      bytes.replaceSubrange(heap + 24..<heap + 32, with: littleEndian(size))
      let path = try scratch.file("a.h5", bytes)
      #expect(
        message { _ = try KerasWeights(path) }
          == "a.h5: byte \(heap + 16): a text is said to have \(size) bytes where 4080 are left; the file is damaged; fetch it again"
      )
    }
    #expect(message { _ = try KerasWeights(try scratch.file("b.h5", [0x89])) } == "b.h5: is no HDF5 file")
    var newer = whole
    newer[8] = 2
    #expect(message { _ = try KerasWeights(try scratch.file("d.h5", newer)) }.contains("HDF5's newer form"))
    var narrow = whole
    narrow[13] = 4
    #expect(message { _ = try KerasWeights(try scratch.file("c.h5", narrow)) }.contains("another size than 64 bits"))
  }

  @Test func `Links, foreign types and false lists are refused`() throws {
    func refusal(_ body: (Int64) -> Void) -> String {
      let path = foreign(body)
      return String(message { _ = try KerasWeights(path) }.dropFirst("foreign.h5: ".count))
    }
    let float = graft_H5T_IEEE_F32LE()
    #expect(
      refusal {
        dataset($0, "w", float)
        H5Lcreate_external("other.h5", "/x", $0, "v", 0, 0)
      } == "dataset 'v': is a link, which is not followed; store the dataset itself")
    #expect(
      refusal {
        dataset($0, "w", float)
        H5Lcreate_soft("/w", $0, "v", 0, 0)
      } == "dataset 'v': is a link, which is not followed; store the dataset itself")
    #expect(
      refusal { dataset($0, "w", graft_H5T_C_S1()) } == "dataset 'w': holds elements of a type that cannot be read")
    #expect(refusal { _ in } == "holds no arrays")
    #expect(
      refusal {
        dataset($0, "w", float)
        note($0, "layer_names", ["a"])
      }.hasPrefix("dataset 'a': is missing"))
    #expect(
      refusal {
        let group = H5Gcreate2($0, "a", 0, 0, 0)
        note(group, "weight_names", ["b", "b"])
        dataset(group, "b", float)
        H5Gclose(group)
        note($0, "layer_names", ["a"])
      } == "dataset 'a/b': is listed twice")
    #expect(
      refusal {
        H5Gclose(H5Gcreate2($0, "a", 0, 0, 0))
        note($0, "layer_names", ["a"])
      } == "group 'a': does not list its weights")
    // A group that is a member of itself.
    #expect(
      refusal {
        let group = H5Gcreate2($0, "a", 0, 0, 0)
        H5Lcreate_hard($0, "a", group, "a", 0, 0)
        H5Gclose(group)
      }.contains("is nested deeper than 24"))
  }
}

struct KernelLayoutTests {
  // Row-major counting: element [y, x, i, o] of a [1, 2, 2, 3] kernel is 6x + 3i + o.
  @Test func `Kernels go from height, width, inputs, outputs to outputs, inputs, height, width`() throws {
    let values = (0..<12).map(Float.init)
    let turned = try KernelLayout.oihw(fromHWIO: values, shape: [1, 2, 2, 3], path: "f", name: "k")
    #expect(turned.shape == [3, 2, 1, 2])
    #expect(turned.values == [0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11])
  }

  // Element [y, x, c, m] of a [1, 2, 3, 2] kernel is 6x + 2c + m; channel 2c + m of the output comes from c.
  @Test func `Depthwise kernels get one channel for each input and multiple`() throws {
    let values = (0..<12).map(Float.init)
    let turned = try KernelLayout.depthwise(fromHWCM: values, shape: [1, 2, 3, 2], path: "f", name: "k")
    #expect(turned.shape == [6, 1, 1, 2])
    #expect(turned.values == [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11])
  }

  @Test func `What is no kernel is refused`() {
    #expect(
      message { _ = try KernelLayout.oihw(fromHWIO: [1, 2], shape: [2], path: "f", name: "k") }
        == "f: tensor 'k': has shape [2] and 2 numbers; a kernel has four axes and fills them")
    #expect(
      message { _ = try KernelLayout.depthwise(fromHWCM: [1], shape: [1, 1, 1, .max], path: "f", name: "k") }
        .contains("a kernel has four axes and fills them"))
  }
}

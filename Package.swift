// swift-tools-version: 6.1
import PackageDescription

// Targets in reading order: each imports only what stands above it.
let package = Package(
  name: "graft",
  products: [
    .executable(name: "graft", targets: ["graft"]),
    .library(
      name: "Graft",
      targets: [
        "Autodiff", "Files", "Text", "Images", "Weights", "Networks", "Adapters", "Training", "Quantizing", "Recipes",
      ]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-crypto", "3.0.0"..<"5.0.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
  ],
  targets: [
    .systemLibrary(
      name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"]), .brew(["openblas"])]),
    .systemLibrary(name: "CHDF5", pkgConfig: "hdf5", providers: [.apt(["libhdf5-dev"]), .brew(["hdf5"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
    .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"]), .brew(["libpng"])]),
    .systemLibrary(
      name: "CJPEG", pkgConfig: "libjpeg", providers: [.apt(["libjpeg62-turbo-dev"]), .brew(["jpeg-turbo"])]),
    .target(name: "CKernels"),
    .target(name: "CImageFiles", dependencies: ["CZlib", "CPNG", "CJPEG"]),
    .target(name: "Autodiff", dependencies: ["COpenBLAS", "CKernels"]),
    .target(name: "Files", dependencies: ["CHDF5"]),
    .target(name: "Text", dependencies: ["Files"]),
    .target(name: "Images", dependencies: ["Autodiff", "Files", "CImageFiles"]),
    .target(name: "Weights", dependencies: ["Autodiff", "Files", "CKernels"]),
    .target(name: "Networks", dependencies: ["Autodiff", "Files", "Text", "Weights"]),
    .target(name: "Adapters", dependencies: ["Autodiff", "Files", "Text", "Weights", "Networks"]),
    .target(name: "Training", dependencies: ["Autodiff", "Files", "Text", "Networks"]),
    .target(name: "Quantizing", dependencies: ["CZlib", "Autodiff", "Files", "Weights", "Networks", "Adapters"]),
    .target(name: "Sequences", dependencies: ["Autodiff", "Files", "Images", "Networks", "Adapters", "Training"]),
    .target(
      name: "Recipes",
      dependencies: [
        "CKernels", "Images", "Adapters", "Training", "Quantizing", "Sequences", "Text", "Files",
        .product(name: "Yams", package: "Yams"),
        .product(name: "Crypto", package: "swift-crypto"),
      ]),
    .executableTarget(
      name: "graft", dependencies: ["Recipes", .product(name: "ArgumentParser", package: "swift-argument-parser")]),
    .testTarget(name: "AutodiffTests", dependencies: ["Autodiff", "CKernels", "Files"]),
    .testTarget(name: "FilesTests", dependencies: ["Files", "CHDF5"]),
    .testTarget(name: "TextTests", dependencies: ["Text", "Files"]),
    .testTarget(name: "ImagesTests", dependencies: ["Images", "Autodiff", "Files", "CHDF5"]),
    .testTarget(name: "WeightsTests", dependencies: ["Weights", "CKernels", "Files"]),
    .testTarget(name: "NetworksTests", dependencies: ["Networks", "Files"]),
    .testTarget(name: "AdaptersTests", dependencies: ["Adapters", "Networks", "Weights", "Files"]),
    .testTarget(name: "TrainingTests", dependencies: ["Training", "Adapters", "Networks", "Files", "Text"]),
    .testTarget(name: "QuantizingTests", dependencies: ["Quantizing", "Networks", "Weights", "Files"]),
    .testTarget(
      name: "SequencesTests", dependencies: ["Sequences", "Images", "Networks", "Adapters", "Autodiff", "Files"]),
    .testTarget(name: "RecipesTests", dependencies: ["Recipes", "Images", "Networks", "Weights", "Files"]),
    .testTarget(name: "RealModelTests", dependencies: ["Recipes", "Networks", "Weights", "Files", "Autodiff"]),
    .testTarget(name: "GraftCommandTests", dependencies: ["graft", "Files"]),
  ],
  swiftLanguageModes: [.v6]
)

import ArgumentParser

/// The commands on sets of images.
struct ImageData: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "data", abstract: "Make, split and look at sets of labelled images.",
    discussion: """
      A set is one HDF5 file with images, labels, the classes' names, and where it all comes from; Recipes/README.md has
      its layout.

      EXAMPLES
        graft data import photos photos.h5 --size 96x96
        graft data split photos.h5 photos --test 200
        graft data info photos/train.h5
        graft data sheet photos/train.h5 photos.png
      """,
    subcommands: [DataImport.self, DataInfo.self, DataSplit.self, DataSheet.self])
}

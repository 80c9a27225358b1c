import Testing

@testable import Recipes

/// Where the names of a plot's dots stand.
struct ComparisonPlotTests {
  @Test func `Names of dots that lie together stand below one another, and others beside their dot`() {
    let places = ComparisonPlot.places(of: [(100, 50, 70), (110, 52, 40), (300, 51, 40), (105, 50, 30)])
    #expect(places[0] == (108, 50) && places[2] == (308, 51))
    #expect(places[1] == (118, 63) && places[3] == (113, 76))
  }
}

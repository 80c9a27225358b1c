import Autodiff

/// Choices of images in which every class has the same share as in the whole.
public enum StratifiedChoice {
  /// How many of each class make up `wanted`: the nearest whole numbers to equal shares, and at least one of each class
  /// that has any.
  ///
  /// The numbers left over by rounding down go to the classes with the largest remainders, of equals to the first.
  static func quotas(_ counts: [Int], wanted: Int) -> [Int] {
    let total = counts.reduce(0, +)
    guard total > 0 else { return counts }
    // In words of twice the width no product overflows.
    let shares = counts.map { total.dividingFullWidth($0.multipliedFullWidth(by: wanted)) }
    var quotas = zip(counts, shares).map { min($0, max($0 > 0 ? 1 : 0, $1.quotient)) }
    let byRemainder = shares.indices.sorted {
      (-shares[$0].remainder, $0) < (-shares[$1].remainder, $1)
    }
    var rest = wanted - quotas.reduce(0, +)
    while rest > 0 {
      let before = rest
      for index in byRemainder where rest > 0 && quotas[index] < counts[index] {
        quotas[index] += 1
        rest -= 1
      }
      if rest == before { break }
    }
    // The ones given to small classes are taken from the largest.
    while rest < 0 {
      guard let largest = quotas.indices.max(by: { (quotas[$0], -$0) < (quotas[$1], -$1) }), quotas[largest] > 1 else {
        break
      }
      quotas[largest] -= 1
      rest += 1
    }
    return quotas
  }

  /// The indices of `wanted` of the labelled items, ascending; without a key the first of each class.
  ///
  /// - Returns: all of them when there are no more; at least one of each class, so more than `wanted` when that is less
  ///   than the number of classes.
  public static func choose(_ wanted: Int, of labels: [Int], classes: Int, from key: RandomKey?) -> [Int] {
    let members = members(of: labels, classes, from: key), quotas = quotas(members.map(\.count), wanted: wanted)
    return zip(members, quotas).flatMap { $0.prefix($1) }.sorted()
  }

  /// Two choices that share no item: `second` of the labelled items, and `first` of the others, or all of them; each
  /// ascending.
  ///
  /// The same key gives the same second choice whatever the size of the first.
  ///
  /// - Parameter leavingOut: given the second choice, further items that the first must not have.
  public static func split(
    _ first: Int?, _ second: Int, of labels: [Int], classes: Int, from key: RandomKey,
    leavingOut: ([Int]) throws -> Set<Int> = { _ in [] }
  ) throws -> (first: [Int], second: [Int]) {
    let members = members(of: labels, classes, from: key)
    let held = quotas(members.map(\.count), wanted: second)
    let chosen = zip(members, held).flatMap { $0.prefix($1) }.sorted(), unwanted = try leavingOut(chosen)
    let left = zip(members, held).map { items, count in items.dropFirst(count).filter { !unwanted.contains($0) } }
    let counts = left.map(\.count), taken = quotas(counts, wanted: first ?? counts.reduce(0, +))
    return (zip(left, taken).flatMap { $0.prefix($1) }.sorted(), chosen)
  }

  /// The items of each class: in their order, or in one drawn from `key` for each class alone.
  private static func members(of labels: [Int], _ classes: Int, from key: RandomKey?) -> [[Int]] {
    var members = [[Int]](repeating: [], count: classes)
    for (index, label) in labels.enumerated() { members[label].append(index) }
    guard let key else { return members }
    return members.enumerated().map { label, items in key[label].permutation(items.count).map { items[$0] } }
  }
}

import Glibc

/// Round numbers to mark an axis with, each with its text: multiples of 1, 2 or 5 times a power of ten.
///
/// Three to nine within the range, no closer than `least`; none in a range too narrow to tell its ends apart.
func axisMarks(_ low: Double, _ high: Double, least: Double = 0) -> [(value: Double, text: String)] {
  let wanted = max((high - low) / 5, least)
  guard wanted > 0, max(abs(low), abs(high)) / wanted < 1e12 else { return [] }
  let power = Int(floor(log10(wanted))), unit = pow(10, Double(power)), share = wanted / unit
  let step = max(unit * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10), least)
  let decimals = max(0, -(share < 7.5 ? power : power + 1))
  // A range's ends may be marks but for rounding.
  let (first, last) = (Int(ceil(low / step - 1e-9)), Int(floor(high / step + 1e-9)))
  guard first <= last else { return [] }
  return (first...last).map { (Double($0) * step, formatted("%.\(decimals)f", Double($0) * step)) }
}

import Glibc

/// Four significant digits: `0.01234`, `12.34`, `1.2e-07`.
public func number(_ value: Double) -> String {
  // What is no number may carry a sign and more, which mean nothing.
  guard value.isFinite else { return value.isNaN ? "nan" : "\(value)" }
  if value == 0 { return "0" }
  let magnitude = Int(floor(log10(abs(value))))
  if magnitude < -4 || magnitude > 8 { return formatted("%.2e", value) }
  return formatted("%.\(max(0, min(8, 3 - magnitude)))f", value)
}

/// `98.4 %`.
public func percent(_ share: Double) -> String { share.isNaN ? "nan" : formatted("%.1f %%", 100 * share) }

/// A duration as people say it: `42 s`, `3 min 05 s`, `2 h 10 min`.
public func duration(_ seconds: Double) -> String {
  let whole = Int(max(0, seconds).rounded())
  if whole < 10 { return formatted("%.1f s", seconds) }
  if whole < 60 { return "\(whole) s" }
  if whole < 3600 { return "\(whole / 60) min \(padded(whole % 60)) s" }
  return "\(whole / 3600) h \(padded(whole / 60 % 60)) min"
}

/// A whole number with its thousands apart: `134,515,008`.
public func grouped(_ value: Int) -> String {
  var digits = Array(String(value.magnitude))
  var place = digits.count - 3
  while place > 0 {
    digits.insert(",", at: place)
    place -= 3
  }
  return (value < 0 ? "-" : "") + String(digits)
}

/// Bytes as megabytes: `98.4 MB`.
public func megabytes(_ bytes: Int) -> String { formatted("%.1f MB", Double(bytes) / 1e6) }

/// A path as a person would type it here: without the working folder in front.
public func displayed(_ path: String) -> String {
  let here = RecipeText.workingFolder + "/"
  return path.hasPrefix(here) && path.count > here.count ? String(path.dropFirst(here.count)) : path
}

private func padded(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }

func formatted(_ format: String, _ value: Double) -> String {
  withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
    let length = withVaList([value]) { vsnprintf(buffer.baseAddress, buffer.count, format, $0) }
    return String(decoding: buffer.prefix(Int(max(0, min(length, 63)))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

/// eˣ, for perplexities.
func exponential(_ value: Double) -> Double { exp(value) }

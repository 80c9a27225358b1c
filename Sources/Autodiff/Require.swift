/// Stops the program with `message` when a caller broke a rule of the interface, such as two shapes that disagree.
///
/// Unlike `precondition`, it says its message in release builds too. For mistakes in code only; mistakes in data throw.
@inlinable public func require(_ condition: Bool, _ message: @autoclosure () -> String) {
  if !condition { fatalError(message()) }
}

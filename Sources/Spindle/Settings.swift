public import SpindleStore

/// How Spindle is opened.
public struct Settings: Sendable {
  /// The store's own settings.
  public var store = StoreSettings()

  public init() {}
}

internal import SpindleCore

extension ColumnTest {
  /// Keeps the rows that satisfy the condition.
  func apply(to column: ColumnArray, _ selection: inout RowSelection) {
    switch condition {
    case .isNull:
      selection.keep(column.validity, isThere: false)
      return
    case .isNotNull: break
    case .never: selection.keep { _ in false }
    case .integers(let range): keep(column, &selection) { range.contains($0) }
    case .integerSet(let set): keep(column, &selection) { set.contains($0) }
    case .numbers(let range):
      keepNumbers(column, &selection) { range.lowerBound <= $0 && $0 <= range.upperBound }
    case .numberSet(let set): keepNumbers(column, &selection) { set.contains($0) }
    case .bytes(let range): keepBytes(column, &selection) { range.contains($0) }
    case .bytesSet(let set):
      if set.count == 1, let only = set.first {
        keepBytes(column, &selection) { bytesEqual($0, only.span) }
      } else {
        keepBytes(column, &selection) { set.contains(copyBytes($0)) }
      }
    }
    selection.keep(column.validity, isThere: true)
  }

  @inline(__always)
  private func keep(
    _ column: ColumnArray, _ selection: inout RowSelection, _ isWanted: (Int64) -> Bool
  ) {
    switch (column.values, order) {
    case (.boolean(let slots), _): selection.keep { isWanted(slots[$0] ? 1 : 0) }
    case (.int32(let slots), .integer(_, isSigned: false)):
      selection.keep { isWanted(Int64(UInt32(bitPattern: slots[$0]))) }
    case (.int32(let slots), _): selection.keep { isWanted(Int64(slots[$0])) }
    case (.int64(let slots), .integer(_, isSigned: false)):
      // Moved down by half the range, as the keys of the values to compare with are.
      selection.keep { isWanted(slots[$0] ^ .min) }
    case (.int64(let slots), _): selection.keep { isWanted(slots[$0]) }
    default: selection.keep { _ in false }
    }
  }

  @inline(__always)
  private func keepNumbers(
    _ column: ColumnArray, _ selection: inout RowSelection, _ isWanted: (Double) -> Bool
  ) {
    switch column.values {
    case .float(let slots): selection.keep { isWanted(Double(slots[$0])) }
    case .double(let slots): selection.keep { isWanted(slots[$0]) }
    default: selection.keep { _ in false }
    }
  }

  private func keepBytes(
    _ column: ColumnArray, _ selection: inout RowSelection, _ isWanted: (Span<UInt8>) -> Bool
  ) {
    switch column.values {
    case .bytes(let slots): selection.keep { isWanted(slots[$0]) }
    case .fixed(let slots): selection.keep { isWanted(slots[$0]) }
    case .dictionary(let indices, let values):
      // Each string is judged once.
      let verdicts = (0..<values.count).map { isWanted(values[$0]) }
      // Only the slots of null rows may have an index that is not there.
      selection.keep { row in
        let index = Int(indices[row])
        return index < verdicts.count && verdicts[index]
      }
    default: selection.keep { _ in false }
    }
  }
}

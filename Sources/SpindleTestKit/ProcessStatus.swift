internal import Glibc

/// What the kernel says about a process under a name such as `State` or `VmPeak`; nil for nothing.
package func processStatus(_ name: String, of process: String = "self") -> String? {
  let file = unsafe open("/proc/\(process)/status", O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return nil }
  defer { close(file) }
  // The kernel makes it in one piece, of some 1,500 bytes.
  var bytes = [UInt8](repeating: 0, count: 1 << 14)
  let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
  let text = String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
  let line = text.split(separator: "\n").first { $0.hasPrefix(name + ":") }
  return line.map { String($0.dropFirst(name.count + 1).drop { $0 == "\t" || $0 == " " }) }
}

// How a target says that it has found something.

import Glibc

/// Leaves crashes to libFuzzer, which then keeps the input: the runtime's own crash report comes
/// first unless it is taken off, and libFuzzer takes over only signals that nobody handles.
package func leaveCrashesToTheFuzzer() {
    for number in [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT, SIGSEGV, SIGTRAP] {
        _ = signal(number, SIG_DFL)
    }
}

/// Ends the run: `finding` does not hold for `bytes`, which are shown as they were parsed.
package func report(_ finding: String, _ bytes: some Sequence<UInt8>) -> Never {
    let text = "\n== finding: \(finding)\n\(readable(bytes))\n== end\n"
    let output = Array(text.utf8)
    // SAFETY: as many bytes as there are.
    _ = unsafe output.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
    abort()
}

/// ASCII as it is, a line a line, anything else as an escape.
package func readable(_ bytes: some Sequence<UInt8>) -> String {
    var text = ""
    for byte in bytes {
        switch byte {
        case 0x0A: text += "\\n\n"
        case 0x0D: text += "\\r"
        case 0x09: text += "\\t"
        case UInt8(ascii: "\\"): text += "\\\\"
        case 0x20...0x7E: text.unicodeScalars.append(Unicode.Scalar(byte))
        default:
            let digits = String(byte, radix: 16)
            text += digits.count == 1 ? "\\x0\(digits)" : "\\x\(digits)"
        }
    }
    return text
}

// A network between a client and a server that fails at a chosen word.

import Foundation
import Glibc
import Synchronization
import Testing

/// Passes bytes on from loopback to a server of loopback, and cuts the connection where it is told to.
final class CuttingProxy: Sendable {
    /// What becomes of the message with the word in it.
    enum Cut: Sendable {
        /// It never arrives.
        case before
        /// It arrives, and the answer doesn't.
        case after
    }

    let port: UInt16
    private let socket: Int32
    private let server: UInt16
    private let armed = Mutex<(word: [UInt8], cut: Cut)?>(nil)
    private let counts = Mutex<(accepted: Int, cuts: Int)>((0, 0))

    init(to server: UInt16) throws {
        self.server = server
        (socket, port) = try Self.listen()
        let thread = Thread { [self] in accept() }
        thread.name = "proxy"
        thread.start()
    }

    /// Cuts once, at the next message with `word`.
    func arm(at word: String, _ cut: Cut) { armed.withLock { $0 = (Array(word.utf8), cut) } }

    /// Connections that were taken, and cut.
    var accepted: Int { counts.withLock(\.accepted) }
    var cuts: Int { counts.withLock(\.cuts) }

    /// Ends the listening, and so the thread.
    func close() { shutdown(socket, Int32(SHUT_RDWR)) }

    private func accept() {
        while true {
            let client = Glibc.accept(socket, nil, nil)
            guard client >= 0 else { break }
            counts.withLock { $0.accepted += 1 }
            guard let upstream = try? Self.connect(to: server) else {
                Glibc.close(client)
                continue
            }
            let ends = Ends(client: client, server: upstream)
            Thread.detachNewThread { [self] in pass(ends, toServer: true) }
            Thread.detachNewThread { [self] in pass(ends, toServer: false) }
        }
        Glibc.close(socket)
    }

    /// Two sockets, closed when nobody uses either any more.
    private final class Ends: Sendable {
        let client: Int32
        let server: Int32
        /// Whether what the server says next is kept back.
        let isMuted = Mutex(false)

        init(client: Int32, server: Int32) {
            self.client = client
            self.server = server
        }

        func cut() { for end in [client, server] { shutdown(end, Int32(SHUT_RDWR)) } }

        deinit { for end in [client, server] { Glibc.close(end) } }
    }

    private func pass(_ ends: Ends, toServer: Bool) {
        defer { ends.cut() }
        let (source, target) = toServer ? (ends.client, ends.server) : (ends.server, ends.client)
        while let bytes = Self.receive(source) {
            if toServer, let cut = cut(at: bytes) {
                guard cut == .after else { return }
                ends.isMuted.withLock { $0 = true }
            } else if !toServer, ends.isMuted.withLock(\.self) {
                return
            }
            guard Self.send(bytes, target) else { return }
        }
    }

    private func cut(at bytes: [UInt8]) -> Cut? {
        let cut = armed.withLock { armed -> Cut? in
            guard let (word, cut) = armed, Data(bytes).range(of: Data(word)) != nil else {
                return nil
            }
            armed = nil
            return cut
        }
        if cut != nil { counts.withLock { $0.cuts += 1 } }
        return cut
    }

    // MARK: Sockets

    private static func receive(_ socket: Int32) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        // SAFETY: receives at most what the buffer holds.
        let count = unsafe bytes.withUnsafeMutableBytes {
            unsafe recv(socket, $0.baseAddress, $0.count, 0)
        }
        return count > 0 ? Array(bytes[..<count]) : nil
    }

    private static func send(_ bytes: [UInt8], _ socket: Int32) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            // SAFETY: sends the buffer's own bytes.
            let count = unsafe rest.withUnsafeBytes {
                unsafe Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    /// A socket that takes connections, though nobody may ever accept them.
    static func listen() throws -> (Int32, UInt16) {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var port: UInt16 = 0
        let code = unsafe withLoopback(port: &port) { address, size in
            guard unsafe bind(socket, address, size) == 0, Glibc.listen(socket, 64) == 0 else {
                return -1
            }
            var size = size
            return unsafe getsockname(socket, address, &size)
        }
        try #require(code == 0)
        return (socket, port)
    }

    private static func connect(to port: UInt16) throws -> Int32 {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var port = port
        let code = unsafe withLoopback(port: &port) { unsafe Glibc.connect(socket, $0, $1) }
        guard code == 0 else {
            Glibc.close(socket)
            throw Unexpected("no server on port \(port)")
        }
        return socket
    }

    private static func withLoopback(
        port: inout UInt16, _ body: (UnsafeMutablePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        // SAFETY: the address is as long as it says.
        let code = unsafe withUnsafeMutableBytes(of: &address) { bytes -> Int32 in
            guard let base = bytes.baseAddress else { return -1 }
            return unsafe body(base.assumingMemoryBound(to: sockaddr.self), size)
        }
        port = UInt16(bigEndian: address.sin_port)
        return code
    }
}

// Opening a listener for the epoll driver.

import CEpoll
import GatehouseCore
import GatehouseSystem
import Glibc

/// A call of the kernel that failed.
package struct SystemCallFailure: Error, Equatable, CustomStringConvertible {
    package let call: String
    package let number: Int32

    /// - Parameter number: `errno`, read right after the call.
    init(_ call: String, errno number: Int32) {
        self.call = call
        self.number = number
    }

    package var description: String {
        // SAFETY: strerror gives a text of its own for every number; it is copied at once.
        "\(call): \(unsafe String(cString: strerror(number)))"
    }
}

/// A socket that listens and doesn't block. Closing it is the owner's part.
struct ListeningSocket {
    /// Connections that wait to be accepted; the kernel takes `net.core.somaxconn` if that is less.
    static let backlog: Int32 = 4096

    let descriptor: Int32
    let isTCP: Bool

    /// - Parameter mode: a Unix socket's; it is bound under the process's umask, which lets no one else
    ///   in, and widened only then.
    init(_ address: ListenAddress, mode: UInt16) throws {
        isTCP = address.isTCP
        let family =
            switch address {
            case .unix: AF_UNIX
            case .tcp(let host, _): host.utf8.contains(UInt8(ascii: ":")) ? AF_INET6 : AF_INET
            }
        descriptor = socket(
            family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemCallFailure("socket", errno: errno) }
        do {
            switch address {
            case .unix(let path): try bindUnix(path, mode: mode)
            case .tcp(let host, let port): try bindTCP(family, host, port)
            }
            guard Glibc.listen(descriptor, Self.backlog) == 0 else {
                throw SystemCallFailure("listen", errno: errno)
            }
        } catch {
            close(descriptor)
            throw error
        }
    }

    private func bindUnix(_ path: String, mode: UInt16) throws {
        try UnixSocketPath.prepare(path)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // SAFETY: a path of a ListenAddress fits with its closing zero.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) {
            unsafe $0.copyBytes(from: path.utf8)
        }
        try bind(&address)
        guard unsafe chmod(path, mode_t(mode)) == 0 else {
            throw SystemCallFailure("chmod \(path)", errno: errno)
        }
    }

    private func bindTCP(_ family: Int32, _ host: String, _ port: Int) throws {
        // A server that comes back must not wait for its old connections to be forgotten.
        var yes: Int32 = 1
        guard
            unsafe setsockopt(
                descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
                == 0
        else { throw SystemCallFailure("setsockopt", errno: errno) }
        if family == AF_INET {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(port).bigEndian
            guard unsafe inet_pton(AF_INET, host, &address.sin_addr) == 1 else {
                throw SystemCallFailure("inet_pton \(host)", errno: EINVAL)
            }
            try bind(&address)
        } else {
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = in_port_t(port).bigEndian
            guard unsafe inet_pton(AF_INET6, host, &address.sin6_addr) == 1 else {
                throw SystemCallFailure("inet_pton \(host)", errno: EINVAL)
            }
            try bind(&address)
        }
    }

    private func bind<Address>(_ address: inout Address) throws {
        let size = socklen_t(MemoryLayout<Address>.size)
        let done = unsafe withUnsafePointer(to: &address) { pointer in
            // SAFETY: every socket address begins as sockaddr does; the size is that of the whole.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.bind(descriptor, $0, size)
            }
        }
        guard done == 0 else { throw SystemCallFailure("bind", errno: errno) }
    }

    /// The port that the kernel chose, or the one that was asked for; nil for a Unix socket.
    var port: Int? {
        guard isTCP else { return nil }
        var address = sockaddr_in6()
        var size = socklen_t(MemoryLayout<sockaddr_in6>.size)
        let done = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            // SAFETY: as in `bind`; the kernel writes at most `size` bytes.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe getsockname(descriptor, $0, &size)
            }
        }
        // The port stands at the same place in both families.
        return done == 0 ? Int(UInt16(bigEndian: address.sin6_port)) : nil
    }
}

/// The peer's address as text; nil for a peer that is gone.
func peerAddress(_ descriptor: Int32) -> String? {
    var address = sockaddr_storage()
    var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
    var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let done = unsafe withUnsafeMutablePointer(to: &address) { pointer in
        // SAFETY: the kernel writes at most `size` bytes of address, getnameinfo as much text as fits.
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
            unsafe getpeername(descriptor, address, &size) == 0
                && getnameinfo(
                    address, size, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0
        }
    }
    guard done else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

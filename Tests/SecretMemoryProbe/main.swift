// Makes one secret, says where in its own memory it finds copies, drops it, and looks again. A process of
// its own, so that nothing else has touched the secret's bytes.
//
// Prints "live N outside N left N": the copies while it lives, those of them that are not in locked pages
// without dump and fork, and those that are left.

import GatehouseCore
import GatehouseSystem
import Glibc

/// What keeps the probe from looking; its exit code tells the test.
struct CannotProbe: Error {
    let reason: String
    init(_ reason: String) { self.reason = reason }
}

/// 32 random bytes that this process holds inverted only: the search does not find itself.
let inverted: [UInt8] = try Entropy.system.bytes(32)
let window = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
let windowRange =
    Int(bitPattern: window.baseAddress)..<(Int(bitPattern: window.baseAddress) + window.count)

/// The secret's bytes, one at a time, at the end of `count`.
func marked(_ count: Int) -> SecretBytes {
    SecretBytes(count: count) { span in
        for index in inverted.indices { span[count - 32 + index] = ~inverted[index] }
    }
}

/// One line of /proc/self/smaps that begins a region, and its flags.
struct Region {
    var start: Int
    var end: Int
    var isReadable: Bool
    var isForSecrets = false
}

func regions() throws -> [Region] {
    guard let file = fopen("/proc/self/smaps", "r") else { throw CannotProbe("no /proc") }
    defer { fclose(file) }
    var found: [Region] = []
    var line = [CChar](repeating: 0, count: 4096)
    while fgets(&line, Int32(line.count), file) != nil {
        let text = String(
            decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let words = text.split(separator: " ").map { $0.filter { $0 != "\n" } }
        if text.hasPrefix("VmFlags:") {
            found[found.count - 1].isForSecrets = Set(["lo", "dd", "dc"]).isSubset(of: words)
        } else if let dash = words[0].firstIndex(of: "-"),
            let start = Int(words[0][..<dash], radix: 16),
            let end = Int(words[0][words[0].index(after: dash)...], radix: 16)
        {
            found.append(
                Region(
                    start: start, end: end,
                    isReadable: words[1].hasPrefix("r") && !text.contains("[v")))
        }
    }
    return found
}

/// Copies of what `wanted` holds inverted: (all, outside of secret memory).
func copies(of wanted: [UInt8]) throws -> (all: Int, outside: Int) {
    let memory = open("/proc/self/mem", O_RDONLY)
    precondition(memory >= 0)
    defer { close(memory) }
    var all = 0
    var outside = 0
    for region in try regions() where region.isReadable {
        var address = region.start
        while address < region.end {
            let wish = min(window.count, region.end - address)
            guard pread(memory, window.baseAddress, wish, address) == wish else { break }
            for offset in 0..<max(0, wish - 31)
            where window[offset] == ~wanted[0] && window[offset + 1] == ~wanted[1]
                && !windowRange.contains(address + offset)
            {
                guard (2..<32).allSatisfy({ window[offset + $0] == ~wanted[$0] }) else { continue }
                all += 1
                if !region.isForSecrets { outside += 1 }
            }
            // Windows overlap by less than a copy.
            address += address + wish == region.end ? wish : wish - 31
        }
    }
    window.initializeMemory(as: UInt8.self, repeating: 0)
    return (all, outside)
}

func report(_ wanted: [UInt8], _ live: (all: Int, outside: Int)) throws {
    print("live \(live.all) outside \(live.outside) left \(try copies(of: wanted).all)")
}

func ring() throws -> Keyring {
    guard let id = KeyID(rawValue: 7) else { throw CannotProbe("no id") }
    let time = UnixTime(clamping: 1)
    let key = TokenKey(
        id: id, state: .active, created: time, activated: time, ended: nil,
        secret: KeySecret(marked(32)))
    return try Keyring(version: 1, keys: [key])
}

/// The key of session tokens, inverted.
func derived(_ ring: Keyring) throws -> [UInt8] {
    guard let secret = ring.keys[0].secret else { throw CannotProbe("no secret") }
    let key = try secret.withSpan {
        try hkdfSHA256(secret: $0, info: Array("gatehouse/v1/token/session".utf8), byteCount: 32)
    }
    return key.withSpan { span in span.indices.map { ~span[$0] } }
}

try ProcessLimits.protectSecrets()
switch CommandLine.arguments.dropFirst().first {
case "bytes":
    func use() throws -> (all: Int, outside: Int) {
        let secret = marked(300)
        let copy = secret.copy()
        let found = try copies(of: inverted)
        precondition(secret.count == copy.count)
        return found
    }
    try report(inverted, use())
case "large":
    func use() throws -> (all: Int, outside: Int) {
        let secret = marked(SecretMemory.largestBlockBytes + 1)
        let found = try copies(of: inverted)
        precondition(secret.count > 0)
        return found
    }
    try report(inverted, use())
case "keyring":
    func use() throws -> (all: Int, outside: Int) {
        let root = try RootKey.random(from: .system)
        let ring = try ring()
        let wrapped = try root.wrap(ring, entropy: .system)
        let opened = try root.unwrap(wrapped)
        let found = try copies(of: inverted)
        precondition(opened.version == ring.version)
        return found
    }
    try report(inverted, use())
case "cipher":
    var wanted: [UInt8] = []
    func use() throws -> (all: Int, outside: Int) {
        let ring = try ring()
        wanted = try derived(ring)
        guard let audience = Audience("probe") else { throw CannotProbe("no audience") }
        let cipher = try TokenCipher(keyring: ring, audience: audience, purposes: [.session])
        for _ in 0..<10 {
            let text = try cipher.seal(
                inverted.span, purpose: .session, transport: .cookie, entropy: .system)
            guard
                case .opened = cipher.open(
                    text.span, purpose: .session, transport: .cookie, { $0.count })
            else { throw CannotProbe("does not open") }
        }
        let found = try copies(of: wanted)
        precondition(cipher.sealingKey != nil)
        return found
    }
    let found = try use()
    try report(wanted, found)
default: throw CannotProbe("bytes, large, keyring or cipher")
}

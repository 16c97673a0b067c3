// What an input stands for: bytes on a connection, where they are cut into packets, and the node
// that gets them.

import FuzzSupport

/// What a node can be doing.
enum Node { case serving, starting, draining, stopping }

/// An input is what goes over the wire, and words in braces:
///
/// | word | stands for |
/// |---|---|
/// | `{good}` and the other names of ``SealedTokens`` | that token |
/// | `{\|}` | the end of a packet |
/// | `{kib}`, `{64}` | 1024 and 64 times `a` |
/// | `{fields}` | 16 header fields |
/// | `{starting}`, `{draining}`, `{stopping}` | nothing: the node is doing that |
/// | `{trusted}` | nothing: the peer is a listed proxy |
struct HeadInput {
    /// More than twice the limit of a head: what comes after can't matter.
    static let maximumBytes = 40 * 1024

    private(set) var bytes: [UInt8] = []
    /// Where packets end, in order, within the bytes.
    private(set) var cuts: [Int] = []
    private(set) var node = Node.serving
    private(set) var isFromTrustedProxy = false
    /// Chooses what is not worth choosing by hand.
    private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325

    init(_ raw: UnsafeBufferPointer<UInt8>, words: [Word]) {
        bytes.reserveCapacity(raw.count + 512)
        var index = 0
        while index < raw.count, bytes.count < Self.maximumBytes {
            let byte = unsafe raw[index]
            // FNV-1a
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
            if byte == UInt8(ascii: "{"), let word = unsafe Self.word(raw, at: index, of: words) {
                apply(word)
                index += word.name.count
            } else {
                bytes.append(byte)
                index += 1
            }
        }
        if bytes.count > Self.maximumBytes { bytes.removeLast(bytes.count - Self.maximumBytes) }
        cuts.removeAll { $0 >= bytes.count }
    }

    private mutating func apply(_ word: Word) {
        switch word.meaning {
        case .bytes(let text): bytes += text
        case .cut: if !bytes.isEmpty, cuts.last != bytes.count { cuts.append(bytes.count) }
        case .node(let node): self.node = node
        case .trustedProxy: isFromTrustedProxy = true
        }
    }

    private static func word(
        _ raw: UnsafeBufferPointer<UInt8>, at start: Int, of words: [Word]
    ) -> Word? {
        // SAFETY: `start` is an index of the buffer, and so is whatever `prefix` leaves.
        let rest = unsafe raw[start...]
        return words.first { unsafe rest.starts(with: $0.name) }
    }
}

/// A word that an input may use.
struct Word {
    enum Meaning {
        case bytes([UInt8])
        case cut
        case node(Node)
        case trustedProxy
    }

    let name: [UInt8]
    let meaning: Meaning

    static func all(_ tokens: SealedTokens) -> [Word] {
        func word(_ name: String, _ meaning: Meaning) -> Word {
            Word(name: Array("{\(name)}".utf8), meaning: meaning)
        }
        let a = UInt8(ascii: "a")
        let fields = (0..<16).flatMap { Array("x-field-\($0): value\r\n".utf8) }
        return tokens.all.map { Word(name: $0.name, meaning: .bytes($0.text)) } + [
            word("|", .cut),
            word("64", .bytes(Array(repeating: a, count: 64))),
            word("kib", .bytes(Array(repeating: a, count: 1024))),
            word("fields", .bytes(fields)),
            word("starting", .node(.starting)),
            word("draining", .node(.draining)),
            word("stopping", .node(.stopping)),
            word("trusted", .trustedProxy),
        ]
    }
}

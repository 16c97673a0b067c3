// One busy connection of the load: what it has asked, and what it still must be answered.

/// Everything is allocated when it is made; a request allocates nothing.
final class LoadConnection {
    let wire: Wire
    /// Received bytes that no answer has been made of yet.
    private var input = [UInt8](repeating: 0, count: inputBytes)
    private var filled = 0
    /// Requests that the kernel has not taken yet.
    private var output: [UInt8] = []
    private var sent = 0
    /// What is under way, oldest first: a ring with a place for each request of the pipeline.
    private var under: [(request: Int, status: Int, intended: UInt64)]
    private var first = 0
    private(set) var outstanding = 0
    /// Whether the poller also watches for room to send.
    var watchesRoom = false

    /// Room for a whole TLS record (16 KiB) behind an answer that is cut short: libssl then never
    /// keeps bytes back that the poller can't see.
    private static let inputBytes = 65_536

    init(_ wire: Wire, pipelining: Int, longestRequest: Int) {
        self.wire = wire
        under = Array(repeating: (0, 0, 0), count: pipelining)
        output.reserveCapacity(pipelining * longestRequest)
    }

    var isFull: Bool { outstanding == under.count }
    var hasUnsent: Bool { sent < output.count }

    /// Puts request `index` behind those that wait to be sent; `status` is the right answer, that of the
    /// set unless given.
    func enqueue(
        _ index: Int, of requests: RequestSet, intended: UInt64, status: Int? = nil
    ) {
        // By hand: appending a slice would make one.
        for position in requests.range(index) { output.append(requests.bytes[position]) }
        var place = first + outstanding
        if place >= under.count { place -= under.count }
        under[place] = (index, status ?? requests.statuses[index], intended)
        outstanding += 1
    }

    /// Sends what waits; false when the server has closed the connection.
    func flush() -> Bool {
        while sent < output.count {
            switch wire.send(output, sent..<output.count) {
            case .bytes(let count): sent += count
            case .wait: return true
            case .closed: return false
            }
        }
        output.removeAll(keepingCapacity: true)
        sent = 0
        return true
    }

    enum Arrival {
        case nothing
        case closed
        case malformed
        /// An answer that nothing was asked for.
        case unasked
        case answers
    }

    /// One whole answer: its status, the right one, which request it is of and when that was meant to be
    /// sent, and where its head lies.
    struct Answer {
        let status: Int
        let expected: Int
        let request: Int
        let intended: UInt64
        let head: Range<Int>
    }

    /// Receives once, and gives each whole answer to `body`.
    func receive(_ body: (Answer) -> Void) -> Arrival {
        switch wire.receive(into: &input, from: filled) {
        case .wait: return .nothing
        case .closed: return .closed
        case .bytes(let count): filled += count
        }
        var start = 0
        scan: while start < filled {
            switch AnswerScan.scan(input.span.extracting(start..<filled)) {
            case .malformed: return .malformed
            case .incomplete: break scan
            case .head(let head):
                guard start + head.byteCount <= filled else { break scan }
                guard outstanding > 0 else { return .unasked }
                let bytes = start..<start + head.headBytes
                start += head.byteCount
                let request = under[first]
                first = first + 1 == under.count ? 0 : first + 1
                outstanding -= 1
                body(
                    Answer(
                        status: head.status, expected: request.status, request: request.request,
                        intended: request.intended, head: bytes))
            }
        }
        keep(from: start)
        return .answers
    }

    /// Moves an answer that is cut short to the front.
    private func keep(from start: Int) {
        if start < filled, start > 0 {
            for index in start..<filled { input[index - start] = input[index] }
        }
        filled -= start
    }

    /// The headers of an answer that say why, for an error's text; within the body of ``receive(_:)`` only.
    func reasons(_ head: Range<Int>) -> String {
        String(decoding: input[head], as: UTF8.self).split(separator: "\r\n")
            .filter { $0.hasPrefix("HTTP/") || $0.hasPrefix("x-auth-reason") }
            .joined(separator: "⏎")
    }

    /// What has been received and not been understood, for an error's text.
    var unread: ArraySlice<UInt8> { input[..<filled] }
}

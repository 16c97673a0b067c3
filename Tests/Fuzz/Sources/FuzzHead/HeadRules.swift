// The rules that hold for every input: what the lane answers, llhttp must have read as the same
// request, and what llhttp calls an error, the lane must refuse.

import FuzzSupport
import NIOHTTP1

/// Checks one input after the other.
final class HeadRules {
    private let tokens = SealedTokens()
    private let words: [Word]
    private let lane: Lane
    private let renewals: Renewals
    private let stage = PeerStage()
    private var reader = AnswerReader()
    /// Of the input at hand.
    private var bytes: [UInt8] = []

    init() {
        words = Word.all(tokens)
        lane = Lane(tokens)
        renewals = Renewals(tokens)
        expectGoodRequestsToBeGood()
    }

    /// Without this, a lane that refuses everything would keep every rule.
    private func expectGoodRequestsToBeGood() {
        let request = "GET /check HTTP/1.1\r\nHost: a\r\nCookie: __Host-gatehouse={good}\r\n\r\n"
        let answers = unsafe Array((request + request).utf8).withUnsafeBufferPointer {
            unsafe check($0)
        }
        require(answers.map(\.status) == [200, 200], "a good request is good")
    }

    @discardableResult
    func check(_ raw: UnsafeBufferPointer<UInt8>) -> [Answer] {
        let input = unsafe HeadInput(raw, words: words)
        bytes = input.bytes
        let (answers, isInHead) = answers(input)
        let isWaiting = checkRequests(answers, input)
        require(isInHead == isWaiting, "a head's time runs from its first byte to its end")
        return answers
    }

    private func require(_ condition: Bool, _ rule: @autoclosure () -> String) {
        if !condition { report(rule(), bytes) }
    }

    // MARK: The answers, however the bytes come

    private func answers(_ input: HeadInput) -> (answers: [Answer], isInHead: Bool) {
        let mayRenew = bytes.count > 6 && bytes.indices.contains { isRenew(at: $0) }
        func exchange(_ cuts: some Sequence<Int>) -> LaneAnswers {
            var answers = lane.answers(
                bytes, cuts: cuts, node: input.node, isFromTrustedProxy: input.isFromTrustedProxy)
            if mayRenew { answers.output = renewals.told(answers.output) }
            return answers
        }
        let whole = exchange(EmptyCollection())
        func expectSame(_ cuts: some Sequence<Int>) {
            let pieces = exchange(cuts)
            guard pieces != whole else { return }
            report(
                "the same answers in packets that end at \(Array(cuts))\n"
                    + "whole: \(readable(whole.output))\npackets: \(readable(pieces.output))",
                bytes)
        }
        if !input.cuts.isEmpty { expectSame(input.cuts) }
        if bytes.count > 1 {
            expectSame(CollectionOfOne(1 + Int(input.hash >> 8) % (bytes.count - 1)))
            // Dear for what it finds, so not for every input, and not for long ones.
            if input.hash % 16 == 0, bytes.count < 2048 { expectSame(1..<bytes.count) }
        }
        let answers: [Answer]
        do { answers = try reader.read(whole.output) } catch {
            report("an answer is malformed: \(error.reason)\n\(readable(whole.output))", bytes)
        }
        for answer in answers.dropLast() {
            require(!answer.closes, "nothing is answered after an answer that closes")
        }
        require(whole.isClosed == (answers.last?.closes ?? false), "closed as announced")
        return (answers, whole.isInHead)
    }

    private func isRenew(at index: Int) -> Bool {
        bytes[index] == UInt8(ascii: ",") && bytes[index...].starts(with: ",renew".utf8)
    }

    // MARK: The requests, one after the other

    /// - Returns: whether a head has begun and not ended.
    private func checkRequests(_ answers: [Answer], _ input: HeadInput) -> Bool {
        let (heads, ending) = lane.heads(bytes)
        var peer = Peer(stage)
        var start = 0
        for (index, head) in heads.enumerated() {
            require(index < answers.count, "request \(index) is answered")
            let request = checkRequest(head, from: start, by: peer, at: index)
            let answer = answers[index]
            check(answer, to: request, closes: head.closes, input, at: index)
            if answer.closes {
                require(answers.count == index + 1, "the answer that closes is the last")
                return false
            }
            start = head.end
            // llhttp reads no further where the protocol may change. It never does here.
            if request.headers.contains(name: "upgrade") { peer = Peer(stage) }
        }
        switch ending {
        case .open:
            require(answers.count == heads.count, "an answer for every request and no more")
            checkOpenEnd(from: start, by: peer)
            return start < bytes.count
        case .closed: report("an answer that closes, for a request that asks to close", bytes)
        case .refused(let status):
            require(answers.count == heads.count + 1, "the refusal is answered, and only that")
            checkRefusal(answers[heads.count], status: status)
            checkRefused(from: start, by: peer)
            return false
        }
    }

    /// The lane, llhttp and the contract read the same request, with the same end.
    private func checkRequest(
        _ head: LaneHead, from start: Int, by peer: Peer, at index: Int
    ) -> HTTPRequestHead {
        let early = peer.receive(bytes[start..<(head.end - 1)])
        require(early.error == nil, "llhttp takes what the lane accepts (request \(index))")
        require(early.ends == 0, "llhttp does not end request \(index) sooner")
        let last = peer.receive(bytes[(head.end - 1)..<head.end])
        require(last.error == nil, "llhttp takes what the lane accepts (request \(index))")
        require(last.ends == 1, "llhttp ends request \(index) where the lane does")
        require(!early.hasBody && !last.hasBody, "request \(index) has no body")
        require(!early.hasTrailers && !last.hasTrailers, "request \(index) has no trailers")
        let heads = early.heads + last.heads
        require(heads.count == 1, "llhttp reads one request where the lane does")
        let request = heads[0]

        guard case .head(let reference) = ReferenceHead.read(bytes, from: start) else {
            report("the contract has a head where the lane accepts one (request \(index))", bytes)
        }
        require(reference.end == head.end, "request \(index) ends where the contract says")
        let options = OptionsAsked(target: reference.target)
        require(head.options == options, "request \(index) asks for what the contract says")
        // NIOHTTP1 spells one method of llhttp's its own way.
        let method = request.method == .MSEARCH ? "M-SEARCH" : request.method.rawValue
        require(isSame(method, reference.method), "the same method")
        require(isSame(request.uri, reference.target), "the same target")
        require(
            request.version == (reference.isHTTP10 ? .http1_0 : .http1_1), "the same version")
        require(request.headers.count == reference.fields.count, "as many fields")
        for ((name, value), field) in zip(request.headers, reference.fields) {
            require(isSame(name, field.name), "the same field name")
            require(isSame(value, field.value), "the same value of \(name)")
        }
        checkCredential(head, of: request, at: index)
        require(head.closes || !reference.closes, "request \(index) closes as the contract says")
        require(head.closes || request.isKeepAlive, "request \(index) closes as llhttp says")
        require(
            !head.closes || mayClose(reference), "request \(index) closes for a reason")
        return request
    }

    private func checkCredential(_ head: LaneHead, of request: HTTPRequestHead, at index: Int) {
        switch (ReferenceCredential(request.headers, options: head.options), head.credential) {
        case (.absent, .absent), (.ambiguous, .ambiguous): break
        case (.one(let token), .one(let range)):
            let text = String(decoding: token, as: UTF8.self)
            require(isSame(text, bytes[range]), "the same token in request \(index)")
        case (.absent, _): report("no token in request \(index)", bytes)
        case (.one, _): report("one token in request \(index)", bytes)
        case (.ambiguous, _): report("more than one token in request \(index)", bytes)
        }
    }

    /// Stricter than needed is right in what may look like `close` to somebody.
    private func mayClose(_ head: ReferenceHead) -> Bool {
        head.isHTTP10
            || head.fields.contains { field in
                (equalsIgnoringCase(field.name, "connection")
                    || equalsIgnoringCase(field.name, "proxy-connection"))
                    && field.value.indices.contains {
                        equalsIgnoringCase(field.value[$0...].prefix(5), "close")
                    }
            }
    }

    private func check(
        _ answer: Answer, to request: HTTPRequestHead, closes: Bool, _ input: HeadInput,
        at index: Int
    ) {
        let expected =
            OptionsAsked(target: Array(request.uri.utf8)[...]).map { options in
                Expectation(
                    request, options: options, node: input.node,
                    isFromTrustedProxy: input.isFromTrustedProxy, tokens: tokens)
            } ?? .refused
        require(answer.said == expected, "\(expected), not \(answer.said) (request \(index))")
        let isEnding = input.node == .draining || input.node == .stopping
        require(
            answer.closes == (closes || isEnding || expected == .refused),
            "keep-alive as request \(index) says")
    }

    // MARK: What follows the last request that was accepted

    private func checkRefusal(_ answer: Answer, status: Int) {
        require(answer.status == status, "the refusal's status")
        require([400, 413, 431].contains(status), "a refusal is 400, 413 or 431")
        require(answer.closes, "a refusal closes")
        var refusal = Expectation.refused
        refusal.status = status
        require(answer.said == refusal, "a refusal says nothing of anybody")
    }

    /// The lane is as strict as the contract and llhttp are, and no stricter.
    private func checkRefused(from start: Int, by peer: Peer) {
        guard case .head(let reference) = ReferenceHead.read(bytes, from: start),
            OptionsAsked(target: reference.target) != nil
        else { return }
        let reading = peer.receive(bytes[start..<reference.end])
        let isTaken = reading.error == nil && reading.ends == 1 && !reading.hasBody
        require(!isTaken, "accepted, as the contract and llhttp do")
    }

    /// The lane waits for more. Whatever comes, it must not accept what llhttp already refuses.
    private func checkOpenEnd(from start: Int, by peer: Peer) {
        switch ReferenceHead.read(bytes, from: start) {
        case .unfinished: break
        case .head: report("the lane answers a whole head", bytes)
        case .refused(let reason): report("the lane refuses a whole head: \(reason)", bytes)
        }
        let reading = peer.receive(bytes[start...])
        require(reading.ends == 0, "llhttp waits where the lane does")
        guard reading.error != nil else { return }
        for tail in Self.tails {
            let (heads, _) = lane.heads(Array(bytes[start...]) + tail)
            require(heads.isEmpty, "nothing follows what llhttp refuses: \(readable(tail))")
        }
    }

    /// What may make a head of something that has begun.
    private static let tails = [
        "\r\n\r\n", "\n\r\n", "\n\r\n\r\n", "a\r\n\r\n", ":\r\n\r\n", "\r\nHost: a\r\n\r\n",
        "\nHost: a\r\n\r\n", " HTTP/1.1\r\nHost: a\r\n\r\n", "1\r\nHost: a\r\n\r\n",
        " /check HTTP/1.1\r\nHost: a\r\n\r\n",
    ].map { Array($0.utf8) }
}

/// Whether text that NIOHTTP1 made of bytes was made of these; it repairs what is not UTF-8.
private func isSame(_ text: String, _ bytes: ArraySlice<UInt8>) -> Bool {
    let text = trimmed(Array(text.utf8)[...])
    return text.elementsEqual(bytes)
        || text.elementsEqual(String(decoding: bytes, as: UTF8.self).utf8)
}

// What a server must get right before it is timed.

enum Trial {
    /// Sends each request on a connection of its own, and compares the status. Returns the last
    /// answer's bytes.
    @discardableResult
    static func of(
        _ server: String, at target: Target, security: TLSContext? = nil,
        _ questions: [Question]
    ) throws -> [UInt8] {
        var last: [UInt8] = []
        for question in questions {
            let request = RequestSet.request(path: "/check", token: question.token)
            let answer = try Wire(target, security: security).exchange(request)
            guard answer.head.status == question.status else {
                throw BenchmarkFailure(
                    "\(server) answers \(answer.head.status) where \(question.status) is right: "
                        + excerpt(answer.bytes))
            }
            last = answer.bytes
        }
        return last
    }
}

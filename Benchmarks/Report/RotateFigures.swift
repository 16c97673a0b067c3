// What rotations and revocations of keys did to good and to revoked tokens.

struct RotateFigures: Codable {
    /// A rotation begun every second.
    struct Rotations: Codable {
        let seconds: Int
        var attempted = 0
        var tookEffect = 0
        /// Not begun: the one before had not ended.
        var underWay = 0
        /// Refused, since the ring holds as many keys as it may.
        var ringFull = 0
        /// Refused for another reason, which the command has said on standard error.
        var failed = 0
        /// Keys that were destroyed meanwhile, the last token under them having expired.
        var destroyed = 0
        /// Keys under which tokens were checked.
        var keys = 0
        /// Of each server.
        var loads: [LoadResult] = []
        var signIns: [SignInCounts] = []
        /// Milliseconds that `gatehouse keys rotate --wait` took, its own start included.
        var waits: [Double] = []
    }

    /// One server stopped now and then.
    struct Pauses: Codable {
        let seconds: Int
        /// How long it is stopped, by turns.
        let pauseSeconds: [Int]
        let turns: Int
        var rotated = 0
        /// Keys.
        var revoked = 0
        var keys = 0
        /// The second is the one that is stopped.
        var loads: [LoadResult] = []
        var signIns: [SignInCounts] = []
        /// Of each `gatehouse keys rotate --wait` and `gatehouse keys revoke --wait`.
        var waits: [Double] = []
    }

    let rotations: Rotations
    let pauses: Pauses

    var lines: [String] { rotationLines + [""] + pauseLines + [""] }

    private var rotationLines: [String] {
        [
            "\(rotations.attempted) rotations attempted in \(rotations.seconds) s: "
                + "\(rotations.tookEffect) took effect, \(rotations.underWay) while another was under "
                + "way, \(rotations.ringFull) refused because the ring was full, "
                + "\(rotations.failed) for another reason; "
                + "\(rotations.destroyed) keys destroyed; tokens under \(rotations.keys) keys checked"
        ] + Self.loadLines(rotations.loads, rotations.signIns, rotations.seconds)
            + [Self.waitLine(rotations.waits)]
    }

    private var pauseLines: [String] {
        [
            "the second server stopped \(pauses.turns) times for each of "
                + pauses.pauseSeconds.map { "\($0) s" }.joined(separator: ", ")
                + ": \(pauses.rotated) rotations, \(pauses.revoked) keys revoked; tokens under "
                + "\(pauses.keys) keys checked"
        ] + Self.loadLines(pauses.loads, pauses.signIns, pauses.seconds)
            + [Self.waitLine(pauses.waits)]
    }

    /// A figure stands here only if every answer was right: the first row of wrong ones is always 0.
    private static func loadLines(
        _ loads: [LoadResult], _ signIns: [SignInCounts], _ seconds: Int
    ) -> [String] {
        Table.lines(
            [
                "checks", "good, 200", "good, refused", "revoked, 401", "revoked, accepted",
                "while revoking", "no lease, 503", "expired while stopped", "a second",
                "sign-ins", "unavailable",
            ],
            zip(loads, signIns).enumerated().map { number, row in
                let counts = row.0.live ?? LiveCounts()
                let numbers = [
                    counts.accepted, 0, counts.refusedRevoked, 0, counts.eitherWay,
                    counts.lacksLease, counts.expired,
                ]
                return ["server \(number + 1)"] + numbers.map { grouped(Double($0)) }
                    + [
                        grouped(row.0.perSecond), grouped(Double(row.1.done)),
                        grouped(Double(row.1.unavailable)),
                    ]
            })
    }

    private static func waitLine(_ waits: [Double]) -> String {
        "--wait returned after \(grouped(median(waits))) ms (median), "
            + "\(grouped(waits.max() ?? 0)) ms at most"
    }
}

// Who is served first, who is refused, and when.

import GatehousePasswords
import Testing

@Suite struct WaitingLineTests {
    typealias Line = WaitingLine<String>

    @Test func `known ones go before strangers, each in the order they came`() {
        var line = Line(maximumCount: 8)
        for (name, priority) in [
            ("s1", .stranger), ("k1", .known), ("s2", .stranger), ("k2", .known),
        ] as [(String, HashPriority)] {
            #expect(line.add(name, priority) == "admitted")
        }
        #expect(line.countAhead(of: .known) == 2 && line.countAhead(of: .stranger) == 4)
        #expect(line.drain() == ["k1", "k2", "s1", "s2"])
    }

    @Test func `a full line takes no stranger and exactly its limit`() {
        var line = Line(maximumCount: 2)
        #expect(line.add("s1", .stranger) == "admitted")
        #expect(line.add("s2", .stranger) == "admitted")
        #expect(line.add("s3", .stranger) == "full")
        #expect(line.drain() == ["s1", "s2"])
    }

    @Test func `a known one takes the place of the newest stranger while there is one`() {
        var line = Line(maximumCount: 3)
        _ = line.add("s1", .stranger)
        _ = line.add("k1", .known)
        _ = line.add("s2", .stranger)
        #expect(line.add("k2", .known) == "instead of s2")
        #expect(line.add("k3", .known) == "instead of s1")
        #expect(line.add("k4", .known) == "full")
        #expect(line.count == 3)
        #expect(line.drain() == ["k1", "k2", "k3"])
    }

    @Test func `a line without places takes nobody`() {
        var line = Line(maximumCount: 0)
        #expect(line.add("k", .known) == "full")
        #expect(line.add("s", .stranger) == "full")
    }

    @Test func `who waits is late at the deadline and not before`() {
        var line = Line(maximumCount: 8)
        _ = line.add("s", .stranger, deadline: 100)
        _ = line.add("k", .known, deadline: 101)
        #expect(line.earliestDeadline == 100)
        #expect(line.removeLate(at: 99).isEmpty)
        #expect(line.removeLate(at: 100).map(\.caller) == ["s"])
        #expect(line.earliestDeadline == 101)
        #expect(line.removeLate(at: 101).map(\.caller) == ["k"])
        #expect(line.earliestDeadline == nil)
        #expect(line.count == 0)
    }

    @Test func `one who leaves makes room, and leaves once`() {
        var line = Line(maximumCount: 2)
        _ = line.add("k", .known, id: 1)
        _ = line.add("s", .stranger, id: 2)
        #expect(line.remove(3) == nil)
        #expect(line.remove(1)?.caller == "k")
        #expect(line.remove(1) == nil)
        #expect(line.remove(2)?.caller == "s")
        #expect(line.count == 0)
    }

    @Test func `everyone can be sent away at once`() {
        var line = Line(maximumCount: 2)
        _ = line.add("k", .known)
        _ = line.add("s", .stranger)
        #expect(line.removeAll().map(\.caller) == ["k", "s"])
        #expect(line.first == nil)
    }
}

extension WaitingLine<String> {
    fileprivate mutating func add(
        _ name: String, _ priority: HashPriority, id: UInt64 = 0, deadline: UInt64 = 0
    ) -> String {
        switch append(Place(id: id, priority: priority, deadline: deadline, caller: name)) {
        case .admitted: "admitted"
        case .full: "full"
        case .admittedInsteadOf(let place): "instead of \(place.caller)"
        }
    }

    fileprivate mutating func drain() -> [String] {
        var names: [String] = []
        while let first {
            names.append(first.caller)
            removeFirst()
        }
        return names
    }
}

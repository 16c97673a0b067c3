// What is asked of people, what they said, and what follows.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehousePeople

private let terms = name("terms")
private let privacy = name("privacy")

private func name(_ text: String) -> SubjectName {
    guard let name = SubjectName(text) else { preconditionFailure("no name: \(text)") }
    return name
}

private func notice(
    _ document: SubjectName, _ version: Int, effective: Int64, required: Int64? = nil,
    withdrawn: Int64? = nil
) -> Notice {
    Notice(
        id: NoticeID(document: document, version: version), title: document.text, digest: [],
        published: time(0), effective: time(effective), requiredFrom: required.map { time($0) },
        withdrawn: withdrawn.map { time($0) })
}

private func said(_ entries: (AgreementSubject, Int, Bool)...) -> AgreementState {
    AgreementState(
        entries.map { Agreement(AgreementEntry($0.0, version: $0.1, isGiven: $0.2), at: time(1)) })
}

struct NoticeBoardTests {
    private let board = NoticeBoard([
        notice(terms, 3, effective: 300), notice(terms, 1, effective: 100, required: 150),
        notice(terms, 2, effective: 200, required: 250), notice(privacy, 1, effective: 100),
        notice(privacy, 2, effective: 200, required: 200, withdrawn: 150),
    ])

    @Test func `a version is in force from its moment on, until the next is`() {
        for (now, version) in [
            (99, nil), (100, 1), (199, 1), (200, 2), (299, 2), (300, 3), (9999, 3),
        ] as [(Int64, Int?)] {
            #expect(board.inForce(terms, at: time(now))?.id.version == version, "\(now)")
        }
        #expect(board.inForce(privacy, at: time(300))?.id.version == 1, "withdrawn")
        #expect(board.coming(at: time(199)).map(\.id.version) == [2, 3])
        #expect(board.coming(at: time(200)).map(\.id.version) == [3])
        #expect(board.documents == [privacy, terms])
    }

    // Promise: acceptance
    @Test func `nothing is asked before its moment, and then until it is met`() {
        func missing(_ now: Int64, _ state: AgreementState = said()) -> [Int] {
            board.missing(state, at: time(now)).map(\.id.version)
        }
        #expect(missing(149) == [])
        #expect(missing(150) == [1])
        let first = said((.document(terms), 1, true))
        #expect(missing(249, first) == [])
        #expect(missing(250, first) == [2])
        // What is asked for is what is in force now.
        #expect(missing(300, first) == [3])
        #expect(missing(300, said((.document(terms), 2, true))) == [])
        #expect(missing(150, said((.document(terms), 3, true))) == [], "a later one was accepted")
        let shrunk = NoticeBoard(
            [notice(terms, 1, effective: 100, required: 100)]
                + [notice(terms, 2, effective: 900, withdrawn: 200)])
        #expect(
            shrunk.missing(said((.document(terms), 2, true)), at: time(300)).map(\.id.version)
                == [1], "it was withdrawn, and binds nobody")
        #expect(
            missing(150, said((.document(terms), 1, true), (.document(terms), 1, false))) == [1])
        #expect(missing(150, said((.purpose(terms), 1, true))) == [1], "of another kind")
        #expect(missing(150, said((.document(privacy), 1, true))) == [1], "of another document")
    }

    @Test func `what is accepted meets what is missing, or does not`() {
        func met(_ now: Int64, _ accepted: (SubjectName, Int)...) -> [Int]? {
            board.meeting(
                board.missing(said(), at: time(now)),
                with: accepted.map { NoticeID(document: $0.0, version: $0.1) }, at: time(now)
            )?.map(\.version)
        }
        #expect(met(100) == [])
        #expect(met(150) == nil)
        #expect(met(150, (terms, 1)) == [1])
        #expect(met(150, (terms, 2), (terms, 1)) == [2])
        #expect(met(150, (privacy, 1)) == nil)
        #expect(met(250, (terms, 1)) == nil, "too early a version")
        #expect(met(250, (terms, 4)) == nil, "no such version")
        #expect(met(250, (terms, 2), (privacy, 1)) == [2], "what nobody asked for is left out")
    }
}

struct AgreementStateTests {
    private func purpose(_ initial: Purpose.Initial, version: Int = 2) -> Purpose {
        Purpose(
            name: name("letters"), title: "Letters", text: "x", initial: initial, version: version)
    }

    // Promise: choice
    @Test(
        arguments: [
            (.optIn, [], false), (.optOut, [], true), (.optIn, [(2, true)], true),
            (.optIn, [(1, true)], false), (.optIn, [(3, true)], true),
            (.optOut, [(1, true)], true), (.optIn, [(2, true), (2, false)], false),
            (.optOut, [(2, false)], false), (.optOut, [(1, false)], false),
            (.optOut, [(1, false), (2, true)], true), (.optIn, [(2, false), (2, true)], true),
        ] as [(Purpose.Initial, [(Int, Bool)], Bool)])
    func `a purpose holds as it was last said of its text`(
        _ initial: Purpose.Initial, _ statements: [(Int, Bool)], _ holds: Bool
    ) {
        let purpose = purpose(initial)
        let state = AgreementState(
            statements.map { version, isGiven in
                Agreement(
                    AgreementEntry(.purpose(purpose.name), version: version, isGiven: isGiven),
                    at: time(1))
            })
        #expect(state.holds(purpose) == holds)
        for isGiven in [true, false] {
            let entry = AgreementEntry(.purpose(purpose.name), version: 2, isGiven: isGiven)
            // Compared with what was said last, whatever holds.
            let isSaid = statements.last.map { version, wasGiven in
                wasGiven == isGiven && (!isGiven || version >= 2)
            }
            #expect(state.isChanged(by: entry, purposes: [purpose]) == !(isSaid ?? false))
            #expect(!state.isChanged(by: entry, purposes: []), "of no purpose")
        }
    }

    @Test func `a later version covers the earlier ones, and a withdrawal all`() {
        func isChanged(_ state: AgreementState, _ version: Int, _ isGiven: Bool) -> Bool {
            state.isChanged(
                by: AgreementEntry(.document(terms), version: version, isGiven: isGiven),
                purposes: [])
        }
        let second = said((.document(terms), 2, true))
        #expect(isChanged(said(), 1, true) && !isChanged(said(), 1, false))
        #expect(!isChanged(second, 1, true) && !isChanged(second, 2, true))
        #expect(isChanged(second, 3, true) && isChanged(second, 2, false))
        let withdrawn = said((.document(terms), 2, true), (.document(terms), 2, false))
        #expect(withdrawn.accepted(terms) == nil)
        #expect(isChanged(withdrawn, 1, true) && !isChanged(withdrawn, 2, false))
    }

    @Test func `a subject is written with its kind`() {
        #expect(AgreementSubject(text: "document:terms") == .document(terms))
        #expect(AgreementSubject(text: "purpose:terms")?.text == "purpose:terms")
        for text in ["terms", "document:", "document:Terms", ":terms", "paper:terms", "", "a:b:c"] {
            #expect(AgreementSubject(text: text) == nil, "\(text)")
        }
    }
}

struct PurposeSchemaTests {
    private func findings(_ yaml: String) -> [String] {
        do throws(PeopleSchemaFaults) { _ = try PeopleSchema(yaml: yaml, name: "p.yaml") } catch {
            return error.findings
        }
        return []
    }

    @Test func `purposes are read in the order of the file`() throws {
        let schema = try PeopleSchema(
            yaml: """
                purposes:
                  news:
                    title: Newsletters
                    text: Once a month, what is new.
                    default: opt-in
                    version: 3
                  calls: {title: Calls, text: "On the phone, rarely.", default: opt-out}
                """, name: "p.yaml")
        #expect(
            schema.purposes == [
                Purpose(
                    name: name("news"), title: "Newsletters", text: "Once a month, what is new.",
                    initial: .optIn, version: 3),
                Purpose(
                    name: name("calls"), title: "Calls", text: "On the phone, rarely.",
                    initial: .optOut, version: 1),
            ])
    }

    @Test func `everything that is wrong is told at once, with its place`() {
        let found = findings(
            """
            purposes:
              News: {}
              a: text
              b:
                title: ""
                text: x
                default: maybe
                version: 0
                colour: red
              c: {title: C, text: [x], default: opt-in}
            hobbies: {}
            """)
        for (finding, expected) in zip(
            found,
            [
                "p.yaml:2: a purpose's name is",
                "p.yaml:3: purposes.a is no mapping",
                "p.yaml:9: purposes.b has no colour",
                "p.yaml:5: purposes.b.title must be 1 to 100 bytes",
                "p.yaml:5: purposes.b.default must be",
                "p.yaml:5: purposes.b.version must be",
                "p.yaml:10: purposes.c.text is no text",
                "p.yaml:10: purposes.c.text must be",
                "p.yaml: there is no hobbies",
            ])
        { #expect(finding.hasPrefix(expected), "\(finding)") }
        #expect(found.count == 9, "\(found)")
        #expect(
            findings("purposes: [a]").first?.hasSuffix("purposes is no mapping of names") == true)
    }

    @Test func `titles, texts and their number have limits`() {
        func file(title: Int = 1, text: Int = 1, count: Int = 1) -> String {
            "purposes:\n"
                + (1...count).map { number in
                    "  p\(number): {title: \(String(repeating: "t", count: title)), "
                        + "text: \(String(repeating: "x", count: text)), default: opt-in}\n"
                }.joined()
        }
        #expect(findings(file(title: 100, text: 1000, count: 16)).isEmpty)
        #expect(findings(file(title: 101)).count == 1)
        #expect(findings(file(text: 1001)).count == 1)
        #expect(findings(file(count: 17)).count == 1)
        #expect(findings("purposes: {a: {title: \"a\\nb\", text: x, default: opt-in}}").count == 1)
    }
}

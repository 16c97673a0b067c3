// The promises made to people, the features that keep them, and the page that lists both with their tests.
// A test says which promise it keeps in a comment above it: `// Promise: ID`, in Python `# Promise: ID`.

import Foundation
import Testing

/// One promise.
struct Promise {
    let id: String
    /// As it is made to people.
    let text: String
    /// What keeps it, with links to pages of the catalogue.
    let feature: String

    static let all: [Promise] = [
        Promise(
            id: "session-cookie",
            text: "You are signed in by one encrypted cookie, and it lasts for one session.",
            feature: "session cookie without `Max-Age`, sealed (<doc:TokenFormat>, <doc:Sessions>)"
        ),
        Promise(
            id: "refuse-session-cookie",
            text: "You may refuse that cookie; then you are told in words, and not let in.",
            feature: "the page that says so (<doc:FrontDoor>)"),
        Promise(
            id: "persistent-on-request",
            text: "A cookie that outlives the session is set only if you ask for it.",
            feature: "“remember me”, saved preferences (<doc:RememberMe>, <doc:Devices>)"),
        Promise(
            id: "device-preferences",
            text: "That cookie also keeps what you prefer on this device.",
            feature: "preferences in the store under the device's id (<doc:Devices>)"),
        Promise(
            id: "refuse-others",
            text: "Refusing every other cookie costs you nothing.",
            feature: "`/cookies`; nothing depends on them (<doc:Referrals>)"),
        Promise(
            id: "referral-cookie",
            text:
                "Which affiliate or promotion you came by is kept for the session, if you accept it.",
            feature: "`/r/{code}` asks first (<doc:Referrals>)"),
        Promise(
            id: "tls",
            text: "The server proves who it is, and what you send is encrypted on the way.",
            feature: "TLS at the front door, HSTS, `Secure` cookies (<doc:FrontDoor>)"),
        Promise(
            id: "unique-names",
            text: "Your user name is yours alone, and nobody can read your password.",
            feature: "constraints on names and skeletons, Argon2id (<doc:Usernames>, "
                + "<doc:PasswordHashing>)"),
        Promise(
            id: "notice-period",
            text: "A change of this policy takes effect only when you have had time to read it.",
            feature: "`gatehouse notices publish`, `notices.wait` business days (<doc:Agreements>)"
        ),
        Promise(
            id: "notice-shown",
            text: "You see what is coming where you sign in, and what you accepted.",
            feature: "sign-in page, `/notices`, `/account/agreements` (<doc:Agreements>)"),
        Promise(
            id: "acceptance",
            text: "You agree to terms yourself, and before they bind you.",
            feature: "acceptance required from a date (<doc:Agreements>)"),
        Promise(
            id: "choice",
            text: "You choose what your data is used for, at any time, and it is honoured at once.",
            feature: "purposes, each choice on record (<doc:Agreements>)"),
        Promise(
            id: "profile-minimal",
            text: "Nothing is kept of you but what the form asks for.",
            feature: "`people.schema` (<doc:Profiles>)"),
        Promise(
            id: "profile-sealed",
            text: "A copy of the database says nothing about you but your user name.",
            feature: "profiles sealed under a data key (<doc:Profiles>)"),
        Promise(
            id: "see-and-correct",
            text: "You can see and correct what is stored about you.",
            feature: "`/account/profile` (<doc:Profiles>)"),
        Promise(
            id: "history",
            text: "You see what was changed, when, and by whom.",
            feature: "history of the profile (<doc:Profiles>)"),
        Promise(
            id: "export",
            text: "You can take everything that is held about you with you.",
            feature: "export as JSON and as a page (<doc:Leaving>)"),
        Promise(
            id: "deletion",
            text: "You can leave, and think better of it for a while.",
            feature: "deletion with a waiting time, cancelled by yourself (<doc:Leaving>)"),
        Promise(
            id: "nothing-left",
            text: "When you have gone, nothing of you is left but a name that nobody else gets.",
            feature: "every table, `secure_delete`, the write-ahead log (<doc:Leaving>)"),
        Promise(
            id: "restore-forgets",
            text: "An old backup does not bring you back.",
            feature: "the ledger of deletions (<doc:Leaving>)"),
        Promise(
            id: "permission",
            text: "Nobody looks at your records without your permission.",
            feature: "grants, and the gate of commands and admin endpoint (<doc:Permission>)"),
        Promise(
            id: "grant-revocable",
            text: "You can take that permission back, and it ends at once.",
            feature: "revocation ends the sessions under a grant (<doc:Permission>)"),
        Promise(
            id: "credentials-safe",
            text: "Whoever helps you can't take your account over.",
            feature: "what an acting session is refused (<doc:Permission>)"),
        Promise(
            id: "looks-shown",
            text: "You see who looked at your records, when, and why.",
            feature: "`/account/support` (<doc:Permission>)"),
        Promise(
            id: "break-glass",
            text: "Whoever looks without permission is noticed, and you are told.",
            feature: "`--break-glass`, the audit trail, the next sign-in (<doc:Permission>)"),
        Promise(
            id: "address-retention",
            text: "Your address is kept for a short time only, to find faults.",
            feature: "`audit.addresses_keep` (<doc:Leaving>)"),
        Promise(
            id: "statistics",
            text: "What is counted says nothing about anybody.",
            feature: "counts by day and week (<doc:Leaving>)"),
        Promise(
            id: "self-assessment",
            text: "Whether all of this is kept is checked, not claimed.",
            feature: "`gatehouse doctor --promises`"),
        Promise(
            id: "contact",
            text: "You can reach somebody about it.",
            feature: "`contact.people`, `/.well-known/security.txt` (<doc:AllowLists>)"),
        Promise(
            id: "allow-lists",
            text: "Only those machines talk to the service that have to.",
            feature: "`public.allow`, `check.allow`, `admin.allow` (<doc:AllowLists>)"),
        Promise(
            id: "listeners-apart",
            text: "What is meant for one of its doors is not answered at another.",
            feature: "three listeners (<doc:AllowLists>)"),
    ]
}

/// A test that says which promise it keeps.
struct PromiseTest {
    let promise: String
    let file: String
    let name: String

    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    /// Lines between a marker and the name of its test: attributes and arguments.
    private static let reach = 40

    /// Those of all test files, in the order of the files' names; a marker without a test has no name.
    static func all() throws -> [PromiseTest] {
        let tests = root.appendingPathComponent("Tests")
        let files = try #require(
            FileManager.default.enumerator(at: tests, includingPropertiesForKeys: nil))
        var found: [PromiseTest] = []
        let sources = files.compactMap { $0 as? URL }
            .filter { ["swift", "py"].contains($0.pathExtension) }
            .sorted { $0.path < $1.path }
        for file in sources {
            let lines = try String(contentsOf: file, encoding: .utf8)
                .split(separator: "\n", omittingEmptySubsequences: false)
            for (index, line) in lines.enumerated() {
                guard let marker = line.wholeMatch(of: /\s*(?:\/\/|#) Promise: (\S+)\s*/) else {
                    continue
                }
                let name = lines[index...].dropFirst().prefix(reach)
                    .compactMap { $0.firstMatch(of: /func `([^`]+)`|def (test_\w+)/) }.first
                    .map { String($0.output.1 ?? $0.output.2 ?? "") }
                found.append(
                    PromiseTest(
                        promise: String(marker.output.1), file: file.lastPathComponent,
                        name: name.map { $0.replacing("_", with: " ") } ?? ""))
            }
        }
        return found
    }
}

@Suite struct PromiseTests {
    private static let page = PromiseTest.root.appendingPathComponent(
        "Sources/GatehouseCore/GatehouseCore.docc/Promises.md")

    @Test func `every promise has a test, and every marker belongs to a test and to a promise`()
        throws
    {
        let tests = try PromiseTest.all()
        let promises = Set(Promise.all.map(\.id))
        #expect(promises.count == Promise.all.count)
        #expect(promises.subtracting(tests.map(\.promise)).sorted() == [])
        #expect(Set(tests.map(\.promise)).subtracting(promises).sorted() == [])
        #expect(tests.filter { $0.name.isEmpty }.map { "\($0.file): \($0.promise)" } == [])
    }

    /// `make promises` writes the page instead.
    @Test func `the page of promises is what the tests make of it`() throws {
        let made = try Self.made()
        if ProcessInfo.processInfo.environment["WRITE_PROMISES"] == "1" {
            try made.write(to: Self.page, atomically: true, encoding: .utf8)
        }
        #expect(
            try String(contentsOf: Self.page, encoding: .utf8) == made, "make promises writes it")
    }

    /// Pages that a feature names are there.
    @Test(arguments: Promise.all.map(\.feature))
    func `every page that keeps a promise is in the catalogue`(_ feature: String) {
        for link in feature.matches(of: /<doc:(\w+)>/) {
            let page = Self.page.deletingLastPathComponent().appendingPathComponent(
                "\(link.output.1).md")
            #expect(FileManager.default.fileExists(atPath: page.path), "\(link.output.1)")
        }
    }

    private static func made() throws -> String {
        let tests = Dictionary(grouping: try PromiseTest.all(), by: \.promise)
        let parts = Promise.all.map { promise in
            "### \(promise.text)\n\nKept by \(promise.feature).\n\n"
                + (tests[promise.id] ?? []).map { "* \($0.name) (`\($0.file)`)\n" }.joined()
        }
        return """
            # What is promised to people

            Each promise, what keeps it, and the tests that fail when it is broken.

            ## Overview

            This page is made from the tests (`make promises`): a test names its promise in a comment above it,
            and one of them fails when a promise has no test. `gatehouse doctor --promises` looks at a
            deployment with the same eyes.

            ## Promises


            """ + parts.joined(separator: "\n")
    }
}

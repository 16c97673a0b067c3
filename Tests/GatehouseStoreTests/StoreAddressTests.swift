// Addresses of stores: what is one, what is refused and why, and that no password is let through.

import Testing

@testable import GatehouseStore

@Suite struct StoreAddressTests {
    private func refusal(_ text: String) -> StoreAddressRefusal? {
        do throws(StoreAddressRefusal) {
            _ = try StoreAddress(text)
            return nil
        } catch { return error }
    }

    @Test func `SQLite is in a directory`() throws {
        #expect(try StoreAddress("sqlite:/var/lib/x") == .sqlite(directory: "/var/lib/x"))
        #expect(try StoreAddress("sqlite:///var/lib/x") == .sqlite(directory: "/var/lib/x"))
        #expect(try StoreAddress("sqlite:/häuser") == .sqlite(directory: "/häuser"))
        #expect(try StoreAddress("sqlite:///x").description == "sqlite:/x")
        for text in ["sqlite:", "sqlite:x", "sqlite://host/x", "sqlite:/a\u{0}b", "sqlite:./x"] {
            #expect(refusal(text) == .directory, "\(text)")
        }
    }

    @Test(arguments: [
        "postgresql://h", "postgresql://h/d", "postgresql://h:5432/d", "postgresql://u@h/d",
        "postgresql://a,b:1,[::1]:2,[fe80::1%25eth0]/d?target_session_attrs=read-write",
        "postgresql:///d", "postgresql:///d?host=/run/postgresql&port=5433",
        "postgresql://%2Frun%2Fpostgresql/d", "postgresql://?service=gatehouse",
        "postgresql://u@/d", "postgresql://u%3Ax%40y@h/d", "postgresql:///d?host=@gatehouse",
        "postgresql://h/d?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql://h/d?passfile=/etc/pass&sslkey=/etc/key", "postgresql://h/d?",
        "postgresql:///?host=a,b",
        "postgresql://h/d?options=-c%20work_mem%3D4MB",
    ])
    func `a URI of PostgreSQL is passed on as it is`(_ text: String) throws {
        guard case .postgresql(let address) = try StoreAddress(text) else {
            Issue.record("\(text)")
            return
        }
        #expect(address.uri == text)
        #expect(try StoreAddress(text).description == text)
    }

    @Test func `the short scheme is the long one`() throws {
        #expect(try StoreAddress("postgres://u@h/d") == StoreAddress("postgresql://u@h/d"))
    }

    @Test(arguments: [
        "postgresql://u:hunter2@h/d", "postgresql://u:@h/d", "postgresql://:hunter2@h",
        "postgresql://u:hunter2@a,b/d", "postgresql://u:hun@ter2@h/d",
        "postgresql://u:hunter?2@h/d",
        "postgresql://h/d?password=hunter2", "postgresql://h/d?sslmode=require&password=hunter2",
        "postgresql://h/d?%70ass%77ord=hunter2", "postgresql://h?password=hunter2",
        "postgresql:///?host=/run&password=hunter2", "postgresql://h/d?password=",
        "postgresql://h/d?sslpassword=hunter2", "postgresql://h/d?oauth_client_secret=hunter2",
        "postgresql://h/d?scram_client_key=hunter2", "postgresql://h/d?scram_server_key=hunter2",
        "postgres://u:hunter2@h/d",
    ])
    func `a password is refused wherever libpq would take it from`(_ text: String) {
        #expect(refusal(text) == .secret)
    }

    /// Here libpq would take a part of the password for something else, which messages show.
    @Test(
        arguments: [
            ("postgresql://u:hun/ter2@h/d", .port), ("postgresql://u:hunt?er2/x@h/d", .port),
            ("postgresql://u:12/34@h/d", .database), ("postgresql://h/d@hunter2", .database),
            ("postgresql://h?x=hunter2@h", .user), ("postgresql://h/d?hunter2", .parameter),
            ("host=h password=hunter2", .scheme), ("POSTGRESQL://u:hunter2@h/d", .scheme),
            ("postgresql:u:hunter2@h/d", .scheme), (" postgresql://u:hunter2@h/d", .scheme),
        ] as [(String, StoreAddressRefusal)])
    func `a password that is not written as one is refused too`(
        _ text: String, _ expected: StoreAddressRefusal
    ) {
        #expect(refusal(text) == expected)
    }

    @Test(
        arguments: [
            ("", .scheme), ("mysql://h/d", .scheme), ("postgresql", .scheme), ("/x", .scheme),
            ("postgresql://", .nothing), ("postgresql:///", .nothing),
            ("postgresql://u@", .nothing),
            ("postgresql://a,/d", .hosts), ("postgresql://,a/d", .hosts),
            ("postgresql://,", .hosts),
            ("postgresql://a,,b/d", .hosts), ("postgresql://[::1/d", .hosts),
            ("postgresql://[]/d", .hosts), ("postgresql://:5432/d", .hosts),
            ("postgresql:///d?host=", .hosts), ("postgresql:///d?hostaddr=::1,", .hosts),
            ("postgresql:///d?%68ost=a,,b", .hosts),
            ("postgresql://h:/d", .port), ("postgresql://h:123456/d", .port),
            ("postgresql://[::1]5432/d", .port), ("postgresql://h:x/d", .port),
            ("postgresql://h/d?a=b&", .parameter), ("postgresql://h/d?=b", .parameter),
            ("postgresql://h/d?a=b=c", .parameter),
            ("postgresql://h/%", .percent), ("postgresql://h/%4", .percent),
            ("postgresql://h/%4x", .percent), ("postgresql://h/%00", .percent),
            ("postgresql://h/a b", .characters), ("postgresql://h/a\u{0}", .characters),
            ("postgresql://hé/d", .characters), ("postgresql://h/d\n", .characters),
            ("postgresql://h/\u{7F}", .characters),
        ] as [(String, StoreAddressRefusal)])
    func `what no address is is refused`(_ text: String, _ expected: StoreAddressRefusal) {
        #expect(refusal(text) == expected)
    }

    @Test func `an address has a limit`() {
        for start in ["sqlite:/", "postgresql://h/"] {
            let longest = start + String(repeating: "x", count: 4096 - start.utf8.count)
            #expect(refusal(longest) == nil)
            #expect(refusal(longest + "x") == .length)
        }
    }

    @Test func `no refusal repeats the text`() {
        for refusal in StoreAddressRefusal.allCases {
            #expect(!refusal.message.contains("hunter2") && !refusal.message.isEmpty)
        }
        #expect(StoreAddressRefusal.secret.message.contains("store.password_file"))
        #expect(StoreAddressRefusal.secret.message.contains(".pgpass"))
    }
}

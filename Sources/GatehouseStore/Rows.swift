// Reading rows without trusting them: a value of the wrong form is an error, never a trap.

import Foundation
import GatehouseCore

extension Row {
    /// An integer column.
    func integer(_ column: String) throws(StoreError) -> Int64 {
        guard let value = try optionalInteger(column) else { throw .damaged(column) }
        return value
    }

    func optionalInteger(_ column: String) throws(StoreError) -> Int64? {
        switch try value(column) {
        case .integer(let integer): return integer
        case .null: return nil
        default: throw .damaged(column)
        }
    }

    /// A column that holds a number of `Number`'s range.
    func number<Number: FixedWidthInteger>(_ column: String) throws(StoreError) -> Number {
        guard let number = Number(exactly: try integer(column)) else { throw .damaged(column) }
        return number
    }

    func text(_ column: String) throws(StoreError) -> String {
        guard let text = try optionalText(column) else { throw .damaged(column) }
        return text
    }

    func optionalText(_ column: String) throws(StoreError) -> String? {
        switch try value(column) {
        case .text(let text): return text
        case .null: return nil
        default: throw .damaged(column)
        }
    }

    func bytes(_ column: String) throws(StoreError) -> [UInt8] {
        guard case .blob(let data) = try value(column) else { throw .damaged(column) }
        return Array(data)
    }

    func time(_ column: String) throws(StoreError) -> UnixTime {
        guard let time = try optionalTime(column) else { throw .damaged(column) }
        return time
    }

    func optionalTime(_ column: String) throws(StoreError) -> UnixTime? {
        guard let seconds = try optionalInteger(column) else { return nil }
        guard let time = UnixTime(seconds: seconds) else { throw .damaged(column) }
        return time
    }

    func identifier(_ column: String) throws(StoreError) -> Identifier {
        let bytes = try bytes(column)
        guard bytes.count == Identifier.byteCount else { throw .damaged(column) }
        let identifier = Identifier(bytes.span)
        guard identifier != .zero else { throw .damaged(column) }
        return identifier
    }

    func optionalIdentifier(_ column: String) throws(StoreError) -> Identifier? {
        return try value(column).isNull ? nil : try identifier(column)
    }

    func username(_ column: String) throws(StoreError) -> Username {
        let bytes = Array(try text(column).utf8)
        guard let username = Username(canonical: bytes.span) else { throw .damaged(column) }
        return username
    }

    func user() throws(StoreError) -> User {
        guard let state = User.State(rawValue: try text("state")) else { throw .damaged("state") }
        return User(
            id: UserID(try identifier("id")), username: try username("canonical"), state: state,
            epoch: try number("epoch"), created: try time("created"),
            passwordHash: try optionalText("password_hash"))
    }

    func session() throws(StoreError) -> SessionRecord {
        guard let level = AuthenticationLevel(rawValue: try number("level")) else {
            throw .damaged("level")
        }
        return SessionRecord(
            id: SessionID(try identifier("id")), user: UserID(try identifier("user_id")),
            epoch: try number("epoch"), created: try time("created"),
            authenticated: try time("authenticated"), idleDeadline: try time("idle_deadline"),
            absoluteDeadline: try time("absolute_deadline"),
            methods: AuthenticationMethods(rawValue: try number("methods")), level: level,
            isRemembered: try integer("remembered") != 0, revoked: try optionalTime("revoked"),
            series: try optionalIdentifier("series_id").map { SeriesID($0) },
            lastUsed: try optionalTime("last_used"),
            origin: SessionOrigin(
                browser: try optionalText("browser"), place: try optionalText("place")))
    }

    func series() throws(StoreError) -> RememberSeries {
        RememberSeries(
            id: SeriesID(try identifier("id")), user: UserID(try identifier("user_id")),
            epoch: try number("epoch"), authenticated: try time("authenticated"),
            methods: AuthenticationMethods(rawValue: try number("methods")),
            deadline: try time("deadline"),
            state: RememberState(
                generation: try number("generation"), made: try time("made"),
                wasPresented: try integer("presented") != 0),
            session: SessionID(try identifier("session_id")))
    }

    func node() throws(StoreError) -> NodeRecord {
        let lease = try integer("lease_seconds")
        guard NodeRecord.leaseSeconds.contains(lease) else { throw .damaged("lease_seconds") }
        return NodeRecord(
            id: NodeID(try identifier("id")), started: try time("started"),
            heartbeat: try time("heartbeat"), leaseSeconds: lease,
            position: try number("position"), keyringVersion: try number("keyring_version"),
            rootKey: try rootKey(),
            rotates: try integer("rotates") != 0,
            claimsVersion: try number("claims_version"))
    }

    /// 8 bytes, big endian.
    func optionalWord(_ column: String) throws(StoreError) -> UInt64? {
        guard try !value(column).isNull else { return nil }
        let bytes = try bytes(column)
        guard bytes.count == 8 else { throw .damaged(column) }
        return UInt64(bigEndianBytes: bytes.span, at: 0)
    }

    func rootKey() throws(StoreError) -> RootKey.Identifier64? {
        try optionalWord("root_key_id").map { RootKey.Identifier64(rawValue: $0) }
    }

    func feedEntry() throws(StoreError) -> FeedEntry {
        let change: FeedEntry.Change
        switch try integer("kind") {
        case FeedKind.session.rawValue: change = .session(SessionID(try identifier("subject")))
        case FeedKind.user.rawValue:
            change = .user(UserID(try identifier("subject")), minimumEpoch: try number("value"))
        case FeedKind.authenticatedBefore.rawValue:
            change = .authenticatedBefore(try time("value"))
        default: throw .damaged("kind")
        }
        return FeedEntry(
            sequence: try number("sequence"), change: change, deadline: try time("deadline"))
    }

    func importProgress() throws(StoreError) -> ImportProgress {
        var progress = ImportProgress(file: try bytes("file"))
        progress.digest = try bytes("digest")
        progress.position = try number("position")
        progress.lines = try number("lines")
        progress.added = try number("added")
        progress.refused = try number("refused")
        let unreported = Data(try text("unreported").utf8)
        do {
            progress.unreported = try JSONDecoder().decode([RefusedLine].self, from: unreported)
        } catch { throw .damaged("unreported") }
        return progress
    }

    private func auditAddress() throws(StoreError) -> AuditAddress? {
        guard let hash = try optionalBytes("address_hash") else { return nil }
        return AuditAddress(
            text: try optionalText("address"), salt: try optionalBytes("address_salt"), hash: hash)
    }

    func auditRecord() throws(StoreError) -> AuditRecord {
        let (kindText, actorText) = (try text("kind"), try text("actor"))
        let kind = AuditEvent.Kind(rawValue: kindText) ?? .unknown
        let actor = AuditEvent.Actor(rawValue: actorText) ?? .unknown
        var record = AuditRecord(
            sequence: try number("sequence"), time: try time("time"),
            event: AuditEvent(
                kind, by: actor, user: try optionalIdentifier("user_id").map(UserID.init),
                session: try optionalIdentifier("session_id").map(SessionID.init),
                key: try optionalInteger("key_id") == nil ? nil : try keyID("key_id"),
                series: try optionalIdentifier("series_id").map(SeriesID.init),
                detail: try optionalText("detail")))
        record.kindText = kindText
        record.actorText = actorText
        record.operatorName = try optionalText("operator")
        record.commitment = try optionalBytes("personal")
        if let salt = try optionalBytes("salt") {
            record.personal = AuditPersonal(
                salt: salt,
                origin: SessionOrigin(
                    browser: try optionalText("browser"), place: try optionalText("place")),
                reason: try optionalText("reason"),
                address: try auditAddress())
        }
        guard let ends = AuditChainEnd.list(try optionalBytes("ends") ?? []) else {
            throw .damaged("ends")
        }
        record.ends = ends
        if try optionalBytes("mac") != nil {
            let end = try chainEnd()
            record.link = AuditLink(
                chain: end.chain, position: end.position, key: try keyID("audit_key"),
                mac: end.mac)
        }
        return record
    }
}

/// The kinds of feed rows, as stored.
enum FeedKind: Int64 {
    case session = 1
    case user = 2
    case authenticatedBefore = 3
}

extension Identifier {
    /// As a statement's argument.
    var data: Data { Data(bytes) }
}

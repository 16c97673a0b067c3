// A store that fails where a test wants it to, and can be replaced under its users.

import GatehouseCore
import Synchronization

final class FailingStore: Store {
    /// The calls that a refresh makes.
    enum Call: CaseIterable { case head, feed, beat }

    /// Makes every call about devices fail.
    let failsDevices = Atomic<Bool>(false)
    /// How often a device was looked up.
    let deviceLookUps = Atomic<Int>(0)
    /// What is told of the live nodes instead of what is so: it was read a moment too early.
    let earlierNodes = Mutex<[NodeRecord]?>(nil)

    private let state: Mutex<(store: any Store, failing: Call?)>
    /// How often the connection was lost and made again.
    let connections = Atomic<UInt64>(0)

    init(_ store: any Store) { state = Mutex((store, nil)) }

    func fail(_ call: Call?) { state.withLock { $0.failing = call } }
    func replace(with store: any Store) { state.withLock { $0.store = store } }

    private var store: any Store { state.withLock { $0.store } }

    private func check(_ call: Call) throws(StoreError) {
        if state.withLock({ $0.failing == call }) { throw .busy }
    }

    func head(anchor: UInt64?) async throws(StoreError) -> StoreHead {
        try check(.head)
        let head = try await store.head(anchor: anchor)
        return StoreHead(
            sequence: head.sequence, keyringVersion: head.keyringVersion,
            keyringMark: head.keyringMark, latestTime: head.latestTime, anchor: head.anchor,
            connection: head.connection + connections.load(ordering: .relaxed))
    }

    func feed(
        after position: UInt64, limit: Int, neededAt now: UnixTime?
    ) async throws(StoreError) -> [FeedEntry] {
        try check(.feed)
        return try await store.feed(after: position, limit: limit, neededAt: now)
    }

    func feedCount(
        after position: UInt64, neededAt now: UnixTime
    ) async throws(StoreError) -> Int {
        try check(.feed)
        return try await store.feedCount(after: position, neededAt: now)
    }

    func beat(
        _ id: NodeID, position: UInt64, keyringVersion: UInt64, at now: UnixTime
    ) async throws(StoreError) -> Bool {
        try check(.beat)
        return try await store.beat(id, position: position, keyringVersion: keyringVersion, at: now)
    }

    func importProgress(of file: [UInt8]) async throws(StoreError) -> ImportProgress? {
        try await store.importProgress(of: file)
    }

    func importUsers(
        _ users: [ImportedUser], from old: ImportProgress?, to new: ImportProgress,
        audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> ImportOutcome {
        try await store.importUsers(users, from: old, to: new, audit: audit, at: now)
    }

    func noteActivity(
        _ uses: [(session: SessionID, used: UnixTime)], idleSeconds: Int64, at now: UnixTime
    ) async throws(StoreError) {
        try await store.noteActivity(uses, idleSeconds: idleSeconds, at: now)
    }

    func acceptClock(at now: UnixTime) async throws(StoreError) {
        try await store.acceptClock(at: now)
    }

    func keyring() async throws(StoreError) -> WrappedKeyring? { try await store.keyring() }

    func replaceKeyring(
        with ring: WrappedKeyring, onlyWhenLoaded: Bool, onlyAsLeader node: NodeID?,
        audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> KeyringReplacement {
        try await store.replaceKeyring(
            with: ring, onlyWhenLoaded: onlyWhenLoaded, onlyAsLeader: node, audit: audit, at: now)
    }

    func keyUsage() async throws(StoreError) -> [KeyID: KeyUsage] { try await store.keyUsage() }

    func noteKeyTally(
        _ tally: KeyTally, by node: NodeID, at now: UnixTime
    ) async throws(StoreError) {
        try await store.noteKeyTally(tally, by: node, at: now)
    }

    func keyActivity(at now: UnixTime) async throws(StoreError) -> [KeyID: KeyActivity] {
        try await store.keyActivity(at: now)
    }

    func disableUsers(
        _ users: [(hash: StoredPasswordHash, audit: AuditEvent)], at now: UnixTime
    ) async throws(StoreError) -> (disabled: Int, position: UInt64) {
        try await store.disableUsers(users, at: now)
    }

    func attemptCount(upTo time: UnixTime) async throws(StoreError) -> Int {
        try await store.attemptCount(upTo: time)
    }

    func expireAttempts(
        upTo time: UnixTime, by deadline: UnixTime, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int {
        try await store.expireAttempts(upTo: time, by: deadline, limit: limit, at: now)
    }

    func joinNode(
        _ id: NodeID, leaseSeconds: Int64, rootKey: RootKey.Identifier64?, rotates: Bool,
        at now: UnixTime
    ) async throws(StoreError) {
        try await store.joinNode(
            id, leaseSeconds: leaseSeconds, rootKey: rootKey, rotates: rotates, at: now)
    }

    func leaveNode(_ id: NodeID, at now: UnixTime) async throws(StoreError) {
        try await store.leaveNode(id, at: now)
    }

    func liveNodes(at now: UnixTime) async throws(StoreError) -> [NodeRecord] {
        if let nodes = earlierNodes.withLock({ $0 }) { return nodes }
        return try await store.liveNodes(at: now)
    }

    func addUser(
        _ username: Username, id: UserID, passwordHash: String?, takingReserved: Bool,
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome {
        try await store.addUser(
            username, id: id, passwordHash: passwordHash, takingReserved: takingReserved,
            audit: audit, at: now)
    }

    func availability(of username: Username) async throws(StoreError) -> NameAvailability {
        try await store.availability(of: username)
    }

    func names(of user: UserID) async throws(StoreError) -> [NameRecord] {
        try await store.names(of: user)
    }

    func renameUser(
        _ id: UserID, to username: Username, takingReserved: Bool, audit: AuditEvent,
        at now: UnixTime
    ) async throws(StoreError) -> RenameOutcome {
        try await store.renameUser(
            id, to: username, takingReserved: takingReserved, audit: audit, at: now)
    }

    func reserveNames(
        _ names: [Username], at now: UnixTime
    ) async throws(StoreError) -> Bool {
        try await store.reserveNames(names, at: now)
    }

    func skeletonReport() async throws(StoreError) -> SkeletonReport {
        try await store.skeletonReport()
    }

    func rewriteSkeletons(
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> SkeletonReport {
        try await store.rewriteSkeletons(audit: audit, at: now)
    }

    func user(named username: Username) async throws(StoreError) -> User? {
        try await store.user(named: username)
    }

    func user(_ id: UserID) async throws(StoreError) -> User? {
        try await store.user(id)
    }

    func users(after name: Username?, limit: Int) async throws(StoreError) -> [User] {
        try await store.users(after: name, limit: limit)
    }

    func setUser(
        _ id: UserID, state: User.State, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> SetStateOutcome {
        try await store.setUser(id, state: state, audit: audit, at: now)
    }

    func createSessions(
        _ creation: SessionCreation, audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> CreateSessionsOutcome {
        try await store.createSessions(creation, audit: audit, at: now)
    }

    func revokeSessions(
        _ ids: PresentedIDs, audit kind: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await store.revokeSessions(ids, audit: kind, at: now)
    }

    func renewSession(
        _ renewal: SessionRenewal, at now: UnixTime
    ) async throws(StoreError) -> RenewSessionOutcome {
        try await store.renewSession(renewal, at: now)
    }

    func signIns(of user: UserID, at now: UnixTime) async throws(StoreError) -> [SignIn] {
        try await store.signIns(of: user, at: now)
    }

    func endSignIn(
        _ session: SessionID, of user: UserID, audit kind: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await store.endSignIn(session, of: user, audit: kind, at: now)
    }

    func endSignIns(
        of user: UserID, except session: SessionID, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await store.endSignIns(of: user, except: session, at: now)
    }

    func changePassword(
        _ change: PasswordChange, at now: UnixTime
    ) async throws(StoreError) -> CreateSessionsOutcome {
        try await store.changePassword(change, at: now)
    }

    func remembered(
        _ id: SeriesID, at now: UnixTime
    ) async throws(StoreError) -> RememberView? {
        try await store.remembered(id, at: now)
    }

    func presentSeries(
        _ presentation: RememberPresentation, at now: UnixTime
    ) async throws(StoreError) -> PresentSeriesOutcome {
        try await store.presentSeries(presentation, at: now)
    }

    func forgetSeries(
        _ ids: [SeriesID], of user: UserID, at now: UnixTime
    ) async throws(StoreError) { try await store.forgetSeries(ids, of: user, at: now) }

    func warnings(of user: UserID) async throws(StoreError) -> [SignInWarning] {
        try await store.warnings(of: user)
    }

    func dismissWarnings(
        of user: UserID, upTo last: Int64, at now: UnixTime
    ) async throws(StoreError) {
        try await store.dismissWarnings(of: user, upTo: last, at: now)
    }

    func addLink(_ link: Link, audit: AuditEvent, at now: UnixTime) async throws(StoreError) {
        try await store.addLink(link, audit: audit, at: now)
    }

    func link(_ hash: LinkHash, at now: UnixTime) async throws(StoreError) -> Link? {
        try await store.link(hash, at: now)
    }

    func setPassword(
        _ passwordHash: String, with link: LinkHash, lookUpKey: LookUpKey,
        audit: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> SetPasswordOutcome {
        try await store.setPassword(
            passwordHash, with: link, lookUpKey: lookUpKey, audit: audit, at: now)
    }

    func chargeAttempt(
        _ key: AttemptKey, user: UserID?, at now: UnixTime
    ) async throws(StoreError) -> AttemptOutcome {
        try await store.chargeAttempt(key, user: user, at: now)
    }

    func refundAttempt(_ key: AttemptKey, at now: UnixTime) async throws(StoreError) {
        try await store.refundAttempt(key, at: now)
    }

    func clearAttempts(
        _ keys: [AttemptKey], audit: AuditEvent?, at now: UnixTime
    ) async throws(StoreError) {
        try await store.clearAttempts(keys, audit: audit, at: now)
    }

    func devices(of user: UserID) async throws(StoreError) -> [DeviceID] {
        try await store.devices(of: user)
    }

    func attempts(_ key: AttemptKey) async throws(StoreError) -> AttemptCount? {
        try await store.attempts(key)
    }

    func passwordHashes(
        after user: UserID?, limit: Int
    ) async throws(StoreError) -> [StoredPasswordHash] {
        try await store.passwordHashes(after: user, limit: limit)
    }

    func replacePasswordHashes(
        _ changes: [(old: StoredPasswordHash, new: String)], audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> Int {
        try await store.replacePasswordHashes(changes, audit: audit, at: now)
    }

    func note(_ event: AuditEvent, at now: UnixTime) async throws(StoreError) {
        try await store.note(event, at: now)
    }

    func sessions(of user: UserID, limit: Int) async throws(StoreError) -> [SessionRecord] {
        try await store.sessions(of: user, limit: limit)
    }

    func session(_ id: SessionID) async throws(StoreError) -> SessionRecord? {
        try await store.session(id)
    }

    func revokeSession(
        _ id: SessionID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await store.revokeSession(id, audit: audit, at: now)
    }

    func revokeSessions(
        of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await store.revokeSessions(of: user, audit: audit, at: now)
    }

    func revokeSessions(
        authenticatedBefore time: UnixTime, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> UInt64 {
        try await store.revokeSessions(authenticatedBefore: time, audit: audit, at: now)
    }

    func authenticatedFloor() async throws(StoreError) -> UnixTime {
        try await store.authenticatedFloor()
    }

    private func checkDevices() throws(StoreError) {
        if failsDevices.load(ordering: .relaxed) { throw .busy }
    }

    func device(
        _ id: DeviceID, of user: UserID, at now: UnixTime
    ) async throws(StoreError) -> Device? {
        deviceLookUps.add(1, ordering: .relaxed)
        try checkDevices()
        return try await store.device(id, of: user, at: now)
    }

    func useDevice(_ use: DeviceUse, at now: UnixTime) async throws(StoreError) -> DeviceOutcome {
        try checkDevices()
        return try await store.useDevice(use, at: now)
    }

    func endDevice(
        _ id: DeviceID, of user: UserID, seal: DeviceSeal?, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> DeviceOutcome {
        try checkDevices()
        return try await store.endDevice(id, of: user, seal: seal, audit: audit, at: now)
    }

    func signTrail(as chain: AuditChain, with keys: AuditKeys, for context: AuditContext) {
        store.signTrail(as: chain, with: keys, for: context)
    }

    func audit(_ query: AuditQuery) async throws(StoreError) -> [AuditRecord] {
        try await store.audit(query)
    }

    func waitForChange(milliseconds: Int) async {
        await store.waitForChange(milliseconds: milliseconds)
    }

    func strangers() async throws(StoreError) -> [NodeID] { try await store.strangers() }

    func auditKeyUse() async throws(StoreError) -> [KeyID: Int] {
        try await store.auditKeyUse()
    }

    func profileKeyUse() async throws(StoreError) -> [KeyID: Int] {
        try await store.profileKeyUse()
    }

    func auditExtent() async throws(StoreError) -> AuditExtent {
        try await store.auditExtent()
    }

    func checkpointAudit(at now: UnixTime) async throws(StoreError) {
        try await store.checkpointAudit(at: now)
    }

    func restartAudit(
        vouching: String, resealing ends: [AuditChainEnd], at now: UnixTime
    ) async throws(StoreError) {
        try await store.restartAudit(vouching: vouching, resealing: ends, at: now)
    }

    func pruneAudit(
        before time: UnixTime, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int {
        try await store.pruneAudit(before: time, limit: limit, at: now)
    }

    func eraseAuditPersonal(of user: UserID, at now: UnixTime) async throws(StoreError) -> Int {
        try await store.eraseAuditPersonal(of: user, at: now)
    }

    func audit(after sequence: UInt64, limit: Int) async throws(StoreError) -> [AuditRecord] {
        try await store.audit(after: sequence, limit: limit)
    }

    func prune(limit: Int, at now: UnixTime) async throws(StoreError) -> Int {
        try await store.prune(limit: limit, at: now)
    }

    func integrityFindings() async throws(StoreError) -> [String] {
        try await store.integrityFindings()
    }
}

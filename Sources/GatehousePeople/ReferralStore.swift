// The store of which codes people came by.

package protocol ReferralStore: Sendable {
}

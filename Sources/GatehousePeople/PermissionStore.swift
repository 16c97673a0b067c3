// The store of who may look at a person, who did, and why.

package protocol PermissionStore: Sendable {
}

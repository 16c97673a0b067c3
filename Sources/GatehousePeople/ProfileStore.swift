// The store of what people say of themselves, sealed.

package protocol ProfileStore: Sendable {
}

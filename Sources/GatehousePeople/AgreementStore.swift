// The store of what people agreed to, and when.

package protocol AgreementStore: Sendable {
}

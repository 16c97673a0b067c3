// The store of how people leave, and what is done so that nothing stays.

package protocol DepartureStore: Sendable {
}

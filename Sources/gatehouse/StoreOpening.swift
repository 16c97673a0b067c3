// Opens the store that the configuration names, or another one.

import GatehouseCore
import GatehouseStore
import Glibc

extension Settings {
    /// - Parameter asServer: whether to make what is missing and to migrate; commands leave the schema alone.
    func openStore(asServer: Bool = false) throws -> SQLStore {
        try openStore(
            at: asServer ? storeAddress : storeAddress.forCommands, createIfMissing: asServer)
    }

    /// - Parameter continuingCopy: whether a part of another store may be in it.
    func openStore(
        at address: StoreAddress, createIfMissing: Bool = false, continuingCopy: Bool = false
    ) throws -> SQLStore {
        try DataDirectory.check(dataDirectory)
        if case .sqlite(let directory) = address {
            if directory != dataDirectory { try DataDirectory.check(directory) }
            let path = directory + "/" + SQLStore.fileName
            guard unsafe createIfMissing || access(path, F_OK) == 0 else {
                throw CommandFailure.environment(
                    "there is no database at \(path)", hint: "start the server once")
            }
        }
        do {
            return try SQLStore(
                at: address, createIfMissing: createIfMissing, directory: dataDirectory,
                continuingCopy: continuingCopy)
        } catch {
            // Of a database that others run it is told which one it was.
            guard case .postgresql = address else { throw error }
            let cause = CommandFailure(error)
            throw CommandFailure.environment("\(address): \(cause.message)", hint: cause.hint)
        }
    }
}

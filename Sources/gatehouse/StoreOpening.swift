// Opens the store that the configuration names.

import GatehouseCore
import GatehouseStore
import Glibc

extension Settings {
    /// - Parameter asServer: whether to make what is missing and to migrate; commands leave the schema alone.
    func openStore(asServer: Bool = false) throws -> SQLStore {
        try DataDirectory.check(dataDirectory)
        guard case .sqlite(let directory) = storeAddress else {
            return try openElsewhere(asServer ? storeAddress : storeAddress.forCommands, asServer)
        }
        if directory != dataDirectory { try DataDirectory.check(directory) }
        let path = directory + "/" + SQLStore.fileName
        guard unsafe asServer || access(path, F_OK) == 0 else {
            throw CommandFailure.environment(
                "there is no database at \(path)", hint: "start the server once")
        }
        return try SQLStore(
            at: storeAddress, createIfMissing: asServer, directory: dataDirectory)
    }

    /// Of a database that others run it is told which one it was.
    private func openElsewhere(_ address: StoreAddress, _ asServer: Bool) throws -> SQLStore {
        do {
            return try SQLStore(at: address, createIfMissing: asServer, directory: dataDirectory)
        } catch {
            let cause = CommandFailure(error)
            throw CommandFailure.environment("\(address): \(cause.message)", hint: cause.hint)
        }
    }
}

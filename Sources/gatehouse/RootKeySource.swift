// Where the root key comes from: a file, a systemd credential, or a command's output.

import Foundation
import GatehouseCore

/// The one way in which the server and every command get the root key. The environment may name a
/// source, and never holds the key (REQUIREMENTS KEY-6).
enum RootKeySource: Equatable, Sendable {
    case file(String)
    /// A file that systemd puts into the directory that ``directoryVariable`` names.
    case credential(String)
    /// A program, by its absolute path, and its arguments.
    case command([String])

    static let directoryVariable = "CREDENTIALS_DIRECTORY"
    /// A program and what it needs to know; more is a script's business.
    static let maximumWords = 32
    /// The longest of these words in bytes: a path.
    static let maximumWordBytes = 4096

    /// How messages name it. Arguments may be nobody's business.
    var name: String {
        switch self {
        case .file(let path): path
        case .credential(let name): "credential \(name)"
        case .command(let words): "the output of \(words.first ?? "")"
        }
    }

    func read(
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(FileRefusal) -> RootKey {
        switch self {
        case .file(let path): return try RootKeyFile.read(path)
        case .credential(let name):
            guard let directory = environment[Self.directoryVariable], directory.hasPrefix("/")
            else {
                throw FileRefusal(
                    message: "there is no \(Self.directoryVariable), and so no credential \(name)",
                    hint: "start it as a systemd unit with LoadCredential= or "
                        + "LoadCredentialEncrypted= (systemd-run does for a command)")
            }
            return try RootKeyFile.read(directory + "/" + name, isCredential: true)
        case .command(let words): return try RootKeyCommand.run(words, environment: environment)
        }
    }

    /// What systemd takes for a credential's name (systemd.exec(5)): a file name of visible ASCII.
    static func isCredentialName(_ text: String) -> Bool {
        (1...255).contains(text.utf8.count) && text != "." && text != ".."
            && text.utf8.allSatisfy { byte in
                (0x21...0x7E).contains(byte) && byte != UInt8(ascii: "/")
                    && byte != UInt8(ascii: ":")
            }
    }

    /// The words of a command: a list, or one line that is split at its spaces; empty for none. Nil when
    /// they are no command.
    static func words(_ values: [String]) -> [String]? {
        let words =
            values.count == 1
            ? values.flatMap { $0.split(separator: " ").map(String.init) } : values
        guard words.count <= maximumWords, words.first?.hasPrefix("/") ?? true,
            words.allSatisfy({ $0.utf8.count <= maximumWordBytes && !$0.utf8.contains(0) })
        else { return nil }
        return words
    }
}

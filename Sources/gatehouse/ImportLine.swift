// One line of a file of users: a JSON object of which every member is known, or a reason.

import Foundation
import GatehouseCore
import GatehousePasswords
import GatehouseWeb

/// What `users import` takes of a line:
/// `{"username": "ada", "password_hash": "$2b$12$…", "profile": {}}`.
struct ImportLine: Equatable {
    /// The longest line, its end included: a hundred times what a name and a hash take.
    static let maximumBytes = 65_536

    let username: Username
    /// Nil where the line says `null`: a user who can't sign in before `users recover`.
    let passwordHash: String?

    init(_ bytes: [UInt8]) throws(ImportLineRefusal) {
        guard JSONObjectKeys.areUnique(bytes) else { throw .json }
        let content: Content
        do {
            content = try JSONDecoder().decode(Content.self, from: Data(bytes))
        } catch let refusal as ImportLineRefusal { throw refusal } catch { throw .json }
        do { username = try Username(utf8: Array(content.username.utf8).span) } catch {
            throw .username(error)
        }
        do {
            passwordHash = try content.passwordHash.map { text throws(ForeignHashRefusal) in
                try ForeignHash(Array(text.utf8)).text
            }
        } catch { throw .passwordHash(error) }
    }

    private struct Content: Decodable {
        private struct Name: CodingKey {
            let stringValue: String
            let intValue: Int? = nil
            init(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }

        let username: String
        let passwordHash: String?

        init(from decoder: any Decoder) throws {
            let members = try decoder.container(keyedBy: Name.self)
            let names = Set(members.allKeys.map(\.stringValue))
            guard names.isSubset(of: ["username", "password_hash", "profile"]) else {
                throw ImportLineRefusal.unknownMember
            }
            // Required, and null for none, so that a misspelled export adds nobody without one.
            guard names.isSuperset(of: ["username", "password_hash"]) else {
                throw ImportLineRefusal.missingMember
            }
            username = try members.decode(String.self, forKey: Name(stringValue: "username"))
            let hash = Name(stringValue: "password_hash")
            passwordHash =
                try members.decodeNil(forKey: hash)
                ? nil : try members.decode(String.self, forKey: hash)
            guard names.contains("profile") else { return }
            let profile = try members.nestedContainer(
                keyedBy: Name.self, forKey: Name(stringValue: "profile"))
            guard profile.allKeys.isEmpty else { throw ImportLineRefusal.profile }
        }
    }
}

/// Why a line is not imported. Says nothing of what is in it.
enum ImportLineRefusal: Error, Equatable {
    case tooLong
    case json
    case unknownMember
    case missingMember
    case profile
    case username(UsernameRefusal)
    case passwordHash(ForeignHashRefusal)

    var message: String {
        switch self {
        case .tooLong: "The line has more than \(ImportLine.maximumBytes) bytes."
        case .json:
            "The line is not a JSON object in UTF-8 with text in username and password_hash, or it "
                + "names a member twice."
        case .unknownMember:
            "The line has a member other than username, password_hash and profile."
        case .missingMember:
            "The line lacks username or password_hash, which is null for a user without a password."
        case .profile: "The line has a profile that is not empty: profiles cannot be stored yet."
        case .username(let refusal): refusal.message
        case .passwordHash(let refusal): refusal.message
        }
    }
}

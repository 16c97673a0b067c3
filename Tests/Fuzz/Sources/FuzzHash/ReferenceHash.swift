// Which bytes are a hash that can be imported: the table of the import, row by row.

enum ReferenceHash {
    static func isHash(_ bytes: [UInt8]) -> Bool {
        guard bytes.count <= 512, bytes.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            return false
        }
        let text = String(decoding: bytes, as: UTF8.self)
        let fields = text.components(separatedBy: "$")
        switch fields.first {
        case "": return fields.count > 1 && isModular(fields[1], Array(fields.dropFirst(2)))
        case "pbkdf2_sha256":
            guard fields.count == 4, let rounds = number(fields[1]) else { return false }
            return (1000...5_000_000).contains(rounds) && (8...64).contains(fields[2].utf8.count)
                && fields[3].hasSuffix("=") && base64Bytes(String(fields[3].dropLast()), "+") == 32
        default: return false
        }
    }

    private static func isModular(_ scheme: String, _ fields: [String]) -> Bool {
        switch (scheme, fields.count) {
        case ("argon2id", 4), ("argon2i", 4):
            guard fields[0] == "v=19", let cost = numbers(fields[1], ["m", "t", "p"]) else {
                return false
            }
            return isMemory(cost[0]) && (1...64).contains(cost[1]) && (1...16).contains(cost[2])
                && cost[0] * cost[1] <= 4 << 20 && isSaltAndOutput(fields[2], fields[3], "+")
        case ("scrypt", 3):
            guard let cost = numbers(fields[0], ["ln", "r", "p"]), cost[0] < 30,
                (1...32).contains(cost[1]), cost[0] < 16 * cost[1]
            else { return false }
            let memory = (128 * cost[1] << cost[0]) / 1024
            return isMemory(memory) && cost[2] >= 1 && cost[2] * memory <= 512 << 10
                && isSaltAndOutput(fields[1], fields[2], "+")
        case ("pbkdf2-sha256", 3), ("pbkdf2-sha512", 3):
            let cost = numbers(fields[0], ["i", "l"])
            let plus: Character = cost == nil ? "." : "+"
            guard let rounds = cost?[0] ?? number(fields[0]),
                let length = base64Bytes(fields[2], plus)
            else { return false }
            return (1000...5_000_000).contains(rounds)
                && length <= (scheme == "pbkdf2-sha256" ? 32 : 64)
                && (cost.map { $0[1] == length } ?? true)
                && isSaltAndOutput(fields[1], fields[2], plus)
        case ("2a", 2), ("2b", 2), ("2y", 2):
            let costs = [
                "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15",
            ]
            guard costs.contains(fields[0]), fields[1].count == 53 else { return false }
            let digits = values(fields[1], bcryptDigits)
            return digits.count == 53 && digits[21] % 16 == 0 && digits[52] % 4 == 0
        case ("6", 2), ("6", 3):
            if fields.count == 3 {
                guard fields[0].hasPrefix("rounds="), let rounds = number(fields[0].dropFirst(7)),
                    (1000...2_000_000).contains(rounds)
                else { return false }
            }
            let salt = fields[fields.count - 2]
            let output = fields[fields.count - 1]
            return (8...16).contains(salt.count) && values(salt, cryptDigits).count == salt.count
                && output.count == 86 && isCrypt64(output)
        case ("y", 3):
            let cost = values(fields[0], cryptDigits)
            guard fields[0].count == 3, fields[0].hasPrefix("j"), cost.count == 3, cost[1] < 48,
                cost[2] < 48, cost[1] < 22, cost[2] < 32
            else { return false }
            let memory = (128 * (cost[2] + 1) << (cost[1] + 1)) / 1024
            return isMemory(memory) && cost[1] + 1 < 16 * (cost[2] + 1)
                && (11...86).contains(fields[1].count) && isCrypt64(fields[1])
                && fields[2].count == 43 && isCrypt64(fields[2])
        default: return false
        }
    }

    private static func isMemory(_ kib: Int) -> Bool { kib >= 512 && kib <= 262_144 }

    private static func number(_ text: some StringProtocol) -> Int? {
        guard !text.isEmpty, text.allSatisfy({ "0123456789".contains($0) }), text.count < 10,
            text == "0" || !text.hasPrefix("0")
        else { return nil }
        return Int(text)
    }

    private static func numbers(_ text: String, _ names: [String]) -> [Int]? {
        let parts = text.components(separatedBy: ",").map { $0.components(separatedBy: "=") }
        guard parts.allSatisfy({ $0.count == 2 }), parts.map(\.[0]) == names else { return nil }
        let numbers = parts.compactMap { number($0[1]) }
        return numbers.count == names.count ? numbers : nil
    }

    // MARK: Digits

    private static let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    private static let bcryptDigits = Array("./" + letters + "0123456789")
    private static let cryptDigits = Array("./0123456789" + letters)

    /// Without what is no digit.
    private static func values(_ text: String, _ digits: [Character]) -> [Int] {
        text.compactMap { digits.firstIndex(of: $0) }
    }

    private static func isSaltAndOutput(
        _ salt: String, _ output: String, _ plus: Character
    ) -> Bool {
        guard let salt = base64Bytes(salt, plus), let output = base64Bytes(output, plus) else {
            return false
        }
        return (8...64).contains(salt) && (16...64).contains(output)
    }

    /// How many bytes canonical base64 has.
    private static func base64Bytes(_ text: String, _ plus: Character) -> Int? {
        let digits = values(text, Array(letters + "0123456789") + [plus, "/"])
        guard digits.count == text.count, digits.count % 4 != 1 else { return nil }
        let over = digits.count * 6 % 8
        guard over == 0 || digits[digits.count - 1] % (1 << over) == 0 else { return nil }
        return digits.count * 6 / 8
    }

    private static func isCrypt64(_ text: String) -> Bool {
        let digits = values(text, cryptDigits)
        guard digits.count == text.count, let last = digits.last, digits.count % 4 != 1 else {
            return false
        }
        return last < 1 << (6 - digits.count * 6 % 8)
    }
}

extension String {
    /// The parts between separators, empty ones too.
    fileprivate func components(separatedBy separator: Character) -> [String] {
        split(separator: separator, omittingEmptySubsequences: false).map(String.init)
    }
}

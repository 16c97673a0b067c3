// The rules that hold for every input: forms and queries say one thing, and a redirect stays here.

import FuzzSupport
import GatehouseWebRules

/// Checks one input after the other.
final class FormRules {
    private static let names = ["return_to", "name", "a"]
    private static let listed = [
        "https://www.example.org", "https://app.example.org:8443", "https://[2001:db8::1]",
    ]
    private let allowed: AllowedOrigins

    init() {
        allowed = AllowedOrigins(
            Self.listed.map { text in
                guard let origin = Origin(text) else { report("no origin", text.utf8) }
                return origin
            })
    }

    func check(_ input: [UInt8]) {
        checkForm(input)
        checkQuery(input)
        checkTarget(input)
        checkOrigin(input)
    }

    private func checkForm(_ input: [UInt8]) {
        let expected = ReferenceForm.fields(input)
        let limit = FormBody.maximumFields
        let isSmall = input.count <= FormBody.maximumBytes
        do {
            let form = try FormBody(input.span)
            guard let expected, expected.count <= limit, isSmall, form.count == expected.count
            else {
                report("a form that is to be refused", input)
            }
            for (name, value) in expected {
                // A name is UTF-8 without control characters.
                guard form.value(String(decoding: name, as: UTF8.self)) == value else {
                    report("the value of a field", input)
                }
            }
        } catch {
            guard expected.map({ $0.count > limit || !isSmall }) ?? true else {
                report("a form that is to be taken: \(error)", input)
            }
        }
    }

    private func checkQuery(_ input: [UInt8]) {
        let expected = ReferenceForm.query(input, names: Self.names)
        do {
            let query = try QueryString(input.span, names: Self.names)
            guard let expected else { report("a query that is to be refused", input) }
            for name in Self.names {
                let value = expected.first { name.utf8.elementsEqual($0.name) }?.value
                guard query.value(name) == value else { report("the value of \(name)", input) }
            }
        } catch {
            guard expected == nil || input.count > QueryString.maximumBytes else {
                report("a query that is to be taken: \(error)", input)
            }
        }
    }

    /// A `Location` leads to a page of this site or of a listed origin, whoever reads it.
    private func checkTarget(_ input: [UInt8]) {
        guard let target = try? ReturnTarget(input.span, allowed: allowed) else { return }
        let location = Array(target.location.utf8)
        guard location.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "\\") }) else {
            report("visible ASCII without backslashes in \(target.location)", input)
        }
        let origin = Self.listed.first { target.location.hasPrefix($0 + "/") } ?? ""
        let path = location.dropFirst(origin.utf8.count).prefix { $0 != UInt8(ascii: "?") }
        guard path.first == UInt8(ascii: "/"), !path.starts(with: "//".utf8) else {
            report("a path of this site or of a listed origin in \(target.location)", input)
        }
        guard let decoded = ReferenceForm.decoded(path) else {
            report("whole percent-encoding in \(target.location)", input)
        }
        for byte in decoded where byte < 0x20 || byte == 0x7F || byte == UInt8(ascii: "@") {
            report("no control character and no @ in \(target.location)", input)
        }
        for segment in decoded.split(separator: UInt8(ascii: "/")) {
            guard segment != [0x2E], segment != [0x2E, 0x2E] else {
                report("no dot segment in \(target.location)", input)
            }
        }
        // Encoding may have made it longer than what is read.
        guard location.count <= ReturnTarget.maximumBytes else { return }
        guard (try? ReturnTarget(location.span, allowed: allowed)) == target else {
            report("a location that is taken again, as it is: \(target.location)", input)
        }
    }

    private func checkOrigin(_ input: [UInt8]) {
        if let origin = Origin(header: input), Array(origin.text.utf8) != input {
            report("one spelling of an origin", input)
        }
        guard let authority = Authority(input) else { return }
        let port = authority.port.map { ":\($0)" } ?? ""
        guard Authority(authority.host + Array(port.utf8)) == authority else {
            report("an authority that is taken again", input)
        }
    }
}

// The look that an operator gives the pages: a name, one colour that stays readable, a logo.

import Foundation
import GatehouseCore

/// What the configuration says about the pages.
package struct PageSettings: Sendable {
    /// Shown on every page; the site's host when there is none.
    package var name: String?
    /// A directory of files that take the place of ours.
    package var templates: String?
    /// A file of texts in another language.
    package var texts: String?
    package var logo: String?
    package var colour = PageColour.standard
    /// Whom people ask about their data, at the foot of every page.
    package var contact: PeopleContact?
    /// How long a browser is remembered, as the pages say it.
    package var rememberSeconds = RememberLimits.defaultAbsoluteSeconds

    package init() {}

    /// - Throws: what a server would not start with.
    package func check() throws(PageFaults) {
        _ = try Pages(basePath: "", host: "", cookies: CookieNames(domain: nil), settings: self)
    }
}

/// A colour in sRGB, and what is readable on it and beside it (WCAG 2.2, SC 1.4.3).
package struct PageColour: Sendable, Hashable {
    package static let standard = PageColour(red: 0x1F, green: 0x5F, blue: 0xAE)
    static let white = PageColour(red: 255, green: 255, blue: 255)
    static let black = PageColour(red: 0, green: 0, blue: 0)
    /// Of small text; borders and focus marks need 3 (SC 1.4.11).
    static let leastContrast = 4.5
    /// What coloured text stands on: in style.css the darker surface of the light look, and the
    /// lighter one of the dark look.
    static let lightSurface = PageColour(red: 0xF4, green: 0xF5, blue: 0xF7)
    static let darkSurface = PageColour(red: 0x20, green: 0x24, blue: 0x2C)

    let red: UInt8
    let green: UInt8
    let blue: UInt8

    init(red: UInt8, green: UInt8, blue: UInt8) {
        (self.red, self.green, self.blue) = (red, green, blue)
    }

    /// Reads `#rrggbb`.
    package init?(_ text: String) {
        guard text.wholeMatch(of: /#[0-9a-fA-F]{6}/) != nil,
            let value = UInt32(text.dropFirst(), radix: 16)
        else { return nil }
        self.init(
            red: UInt8(value >> 16), green: UInt8(value >> 8 & 0xFF), blue: UInt8(value & 0xFF))
    }

    package var text: String {
        "#" + [red, green, blue].map { String(format: "%02x", $0) }.joined()
    }

    /// Relative luminance, 0 to 1.
    private var luminance: Double {
        func linear(_ channel: UInt8) -> Double {
            let value = Double(channel) / 255
            return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
        }
        return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    /// 1 to 21.
    func contrast(with other: PageColour) -> Double {
        let (light, dark) = (max(luminance, other.luminance), min(luminance, other.luminance))
        return (light + 0.05) / (dark + 0.05)
    }

    /// Black or white, whichever is read better on it; the better one has at least 4.58.
    var readable: PageColour {
        contrast(with: .white) >= contrast(with: .black) ? .white : .black
    }

    /// The same colour, mixed with as little of the surface's readable one as is needed on it.
    func readable(on surface: PageColour) -> PageColour {
        let end = surface.readable
        func mix(_ from: UInt8, _ to: UInt8, _ part: Int) -> UInt8 {
            UInt8((Int(from) * (255 - part) + Int(to) * part) / 255)
        }
        for part in 0..<255 {
            let mixed = PageColour(
                red: mix(red, end.red, part), green: mix(green, end.green, part),
                blue: mix(blue, end.blue, part))
            if mixed.contrast(with: surface) >= Self.leastContrast { return mixed }
        }
        return end
    }

    /// What style.css takes its accent from.
    var style: String {
        """
        :root { --accent: \(text); --on-accent: \(readable.text); --accent-text: \
        \(readable(on: Self.lightSurface).text); }
        @media (prefers-color-scheme: dark) { :root { --accent-text: \
        \(readable(on: Self.darkSurface).text); } }

        """
    }
}

/// A picture that is served as it is.
struct PageLogo: Sendable {
    /// On every page anew, since nothing of ours is cached.
    static let maximumBytes = 64 * 1024

    let bytes: [UInt8]
    let contentType: String

    /// Nil when it is none of the four formats, by its first bytes.
    init?(_ bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.starts(with: [0x89] + Array("PNG\r\n\u{1A}\n".utf8)) {
            contentType = "image/png"
        } else if bytes.starts(with: [0xFF, 0xD8, 0xFF]) {
            contentType = "image/jpeg"
        } else if bytes.starts(with: Array("RIFF".utf8)),
            bytes.dropFirst(8).starts(with: Array("WEBP".utf8))
        {
            contentType = "image/webp"
        } else if let text = String(validating: bytes, as: UTF8.self), text.contains("<svg"),
            text.drop(while: { $0.isWhitespace || $0 == "\u{FEFF}" }).first == "<"
        {
            contentType = "image/svg+xml"
        } else {
            return nil
        }
    }

    /// An SVG image is a document when it is opened by itself: then it runs and loads nothing, and
    /// is nobody's origin.
    static let policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
}

/// Reads a file of the operator's, of at most so many bytes.
func pageFile(_ path: String, maximumBytes: Int) throws(PageFaults) -> [UInt8] {
    do {
        let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
        defer { try? file.close() }
        // A pipe gives what it has, and the rest later.
        var data = Data()
        while data.count <= maximumBytes,
            let more = try file.read(upToCount: maximumBytes + 1 - data.count), !more.isEmpty
        { data += more }
        guard data.count <= maximumBytes else {
            throw PageFaults(findings: ["\(path) is larger than \(maximumBytes / 1024) KiB"])
        }
        return Array(data)
    } catch let faults as PageFaults { throw faults } catch {
        throw PageFaults(findings: ["cannot read \(path): \(error.localizedDescription)"])
    }
}

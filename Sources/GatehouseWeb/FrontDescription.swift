// The OpenAPI description of the JSON routes, with the address that this site has.

import HTTPTypes

extension FrontDoor {
    static let descriptionRoutes: [String: [HTTPRequest.Method: Handler]] = [
        "/v1/openapi.yaml": [
            .get: { door, _ in
                FrontResponse(
                    // RFC 9512.
                    status: 200, contentType: "application/yaml",
                    body: description(server: door.server))
            }
        ]
    ]

    /// Where the routes are. Absolute, so that a copy of the description is complete; during development,
    /// when no origin is known, it is relative to wherever the description was read.
    private var server: String {
        let server = (settings.origins.listed.first?.text ?? "") + path("")
        return server.isEmpty ? "/" : server
    }

    /// The resource's only line that differs from site to site.
    private static let serverLine = "\n  - url: "

    private static let description = String(decoding: PackageResources.openapi_yaml, as: UTF8.self)
    private static let serverRange = description.firstRange(of: serverLine + "/\n")

    /// An origin and a base path have no character that means something in YAML at that place.
    static func description(server: String) -> String {
        guard let range = serverRange else { return description }
        return description[..<range.lowerBound] + serverLine + server + "\n"
            + description[range.upperBound...]
    }
}

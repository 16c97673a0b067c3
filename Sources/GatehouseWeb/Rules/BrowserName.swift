// What a browser calls itself, made short enough for its owner to recognise.

/// "Firefox on Linux", from a `User-Agent` field. A label for people and for nothing else: anybody can
/// send any name.
enum BrowserName {
    /// Product tokens and their names. Browsers name those that they want to be taken for too, so that the
    /// first that matches counts.
    private static let browsers = [
        ("Edg/", "Edge"), ("EdgA/", "Edge"), ("EdgiOS/", "Edge"), ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"), ("Vivaldi/", "Vivaldi"), ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"), ("CriOS/", "Chrome"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]
    private static let systems = [
        ("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iPadOS"), ("CrOS", "ChromeOS"),
        ("Windows", "Windows"), ("Macintosh", "macOS"), ("Linux", "Linux"),
    ]
    /// Longer than any browser's; what stands beyond is not read.
    private static let maximumBytes = 512

    /// - Parameter fields: every `User-Agent`.
    static func label(_ fields: [[UInt8]]) -> String? {
        guard fields.count == 1 else { return nil }
        let text = Array(fields[0].prefix(maximumBytes))
        func first(_ names: [(mark: String, name: String)]) -> String? {
            names.first { text.firstRange(of: Array($0.mark.utf8)) != nil }?.name
        }
        switch (first(browsers), first(systems)) {
        case (let browser?, let system?): return "\(browser) on \(system)"
        case (let name?, nil), (nil, let name?): return name
        case (nil, nil): return nil
        }
    }
}

// Metrics as Prometheus text (exposition format 0.0.4).

/// One metric with its samples. Names and labels are ours, so nothing in them needs escaping.
package struct Metric: Sendable {
    package enum Kind: String, Sendable { case counter, gauge }

    package struct Sample: Sendable {
        package let labels: [(name: String, value: String)]
        package let value: Double

        package init(labels: [(String, String)] = [], value: Double) {
            self.labels = labels.map { (name: $0.0, value: $0.1) }
            self.value = value
        }
    }

    package let name: String
    package let kind: Kind
    package let help: String
    package let samples: [Sample]

    package init(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
        self.name = name
        self.kind = kind
        self.help = help
        self.samples = samples
    }

    package var text: String {
        var text = "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
        for sample in samples {
            let labels = sample.labels.map { "\($0.name)=\"\($0.value)\"" }.joined(separator: ",")
            text += labels.isEmpty ? name : "\(name){\(labels)}"
            text += " \(Self.number(sample.value))\n"
        }
        return text
    }

    /// A whole number without a fraction, as far as a Double counts exactly.
    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 9e15 ? "\(Int64(value))" : "\(value)"
    }
}

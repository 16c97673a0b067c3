// Where the repository is: configurations and scripts that the benchmarks use are its own files.

import Foundation

enum SourceTree {
    /// The path of a file of the repository: below this directory, or below the one that this program
    /// was built in.
    static func path(_ name: String) throws -> String {
        let manager = FileManager.default
        var candidates = [manager.currentDirectoryPath]
        var directory = URL(fileURLWithPath: try ChildProcess.ownProgram())
        while directory.path != "/" {
            directory.deleteLastPathComponent()
            candidates.append(directory.path)
        }
        for candidate in candidates
        where manager.fileExists(atPath: candidate + "/Package.swift")
            && manager.fileExists(atPath: candidate + "/" + name)
        {
            return candidate + "/" + name
        }
        throw BenchmarkFailure(
            "there is no \(name) here", hint: "run this in the directory of the sources")
    }

    static func text(_ name: String) throws -> String {
        try String(contentsOfFile: try path(name), encoding: .utf8)
    }
}

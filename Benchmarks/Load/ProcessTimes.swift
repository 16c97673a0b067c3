// CPU time of processes, from the kernel's books.

import Glibc

/// CPU seconds, of one process or of several.
struct ProcessTimes: Codable, Equatable {
    /// As `/proc/PID/stat` counts them, in ticks of 10 ms.
    var user = 0.0
    var system = 0.0
    /// Both together, from the processes' CPU clocks: the same books, kept in nanoseconds.
    var total = 0.0

    static func - (left: ProcessTimes, right: ProcessTimes) -> ProcessTimes {
        ProcessTimes(
            user: left.user - right.user, system: left.system - right.system,
            total: left.total - right.total)
    }

    static func + (left: ProcessTimes, right: ProcessTimes) -> ProcessTimes {
        ProcessTimes(
            user: left.user + right.user, system: left.system + right.system,
            total: left.total + right.total)
    }

    /// What these processes have used up to now; nil when one of them has gone.
    static func now(of processes: [Int32]) -> ProcessTimes? {
        var sum = ProcessTimes()
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        for process in processes {
            guard let text = KernelFile.text("/proc/\(process)/stat"),
                let stat = ProcessStat(text), let total = clockSeconds(process)
            else { return nil }
            sum.user += Double(stat.userTicks) / ticks
            sum.system += Double(stat.systemTicks) / ticks
            sum.total += total
        }
        return sum
    }

    private static func clockSeconds(_ process: Int32) -> Double? {
        var clock = clockid_t()
        var time = timespec()
        // SAFETY: both calls write the one value that they are given.
        guard unsafe clock_getcpuclockid(process, &clock) == 0,
            unsafe clock_gettime(clock, &time) == 0
        else { return nil }
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// `roots` and everything that descends from them.
    static func tree(of roots: [Int32]) -> [Int32] {
        var children: [Int32: [Int32]] = [:]
        for name in KernelFile.names("/proc") {
            guard let process = Int32(name), let text = KernelFile.text("/proc/\(process)/stat"),
                let stat = ProcessStat(text)
            else { continue }
            children[stat.parent, default: []].append(process)
        }
        var found: [Int32] = []
        var waiting = roots
        while let process = waiting.popLast() {
            guard !found.contains(process) else { continue }
            found.append(process)
            waiting += children[process] ?? []
        }
        return found.sorted()
    }
}

/// CPU seconds of the whole machine, to see whether anything else was running.
enum MachineTimes {
    /// User, nice, system and stolen time of `/proc/stat` (proc(5)). Interrupts are left out: those of
    /// the load's own packets are counted there and to no process.
    static func busySeconds(_ text: String) -> Double? {
        guard let line = text.split(separator: "\n").first else { return nil }
        let fields = line.split(separator: " ").dropFirst().map { Double($0) ?? 0 }
        guard line.hasPrefix("cpu "), fields.count >= 8 else { return nil }
        return (fields[0] + fields[1] + fields[2] + fields[7]) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    static func now() -> Double { KernelFile.text("/proc/stat").flatMap(busySeconds) ?? 0 }
}

/// The fields of `/proc/PID/stat` (proc(5)) that are used.
struct ProcessStat: Equatable {
    let parent: Int32
    let userTicks: UInt64
    let systemTicks: UInt64

    /// The second field is the program's name in parentheses and may hold anything, parentheses and
    /// spaces too: fields are counted from the last parenthesis.
    init?(_ text: String) {
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        // Field 3, the state, is the first here: 4 is the parent, 14 and 15 the times.
        guard fields.count > 12, let parent = Int32(fields[1]), let user = UInt64(fields[11]),
            let system = UInt64(fields[12])
        else { return nil }
        self.parent = parent
        userTicks = user
        systemTicks = system
    }
}

/// A process's memory in KiB, from `/proc/PID/status`.
struct ProcessMemory: Codable, Equatable {
    /// Resident now.
    var residentKiB: Int
    /// The most that was.
    var peakKiB: Int

    init?(status text: String) {
        guard let resident = Self.kibibytes("VmRSS:", in: text),
            let peak = Self.kibibytes("VmHWM:", in: text)
        else { return nil }
        residentKiB = resident
        peakKiB = peak
    }

    static func now(of process: Int32) -> ProcessMemory? {
        KernelFile.text("/proc/\(process)/status").flatMap { ProcessMemory(status: $0) }
    }

    private static func kibibytes(_ name: String, in text: String) -> Int? {
        for line in text.split(separator: "\n") where line.hasPrefix(name) {
            return line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first
                .flatMap { Int($0) }
        }
        return nil
    }
}

/// Files that the kernel makes while they are read, and that therefore have no size.
enum KernelFile {
    /// The first 64 KiB, more than any file that is read here.
    static func text(_ path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        var count = 0
        while count < bytes.count {
            let read = unsafe bytes.withUnsafeMutableBytes {
                // SAFETY: what is left of the buffer.
                unsafe Glibc.read(
                    descriptor, $0.baseAddress?.advanced(by: count), $0.count - count)
            }
            guard read > 0 else { break }
            count += read
        }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    /// The names in a directory.
    static func names(_ path: String) -> [String] {
        guard let directory = unsafe opendir(path) else { return [] }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            // SAFETY: d_name is zero-terminated, and lives until the next readdir.
            unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
                unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) {
                    names.append(unsafe String(cString: $0))
                }
            }
        }
        return names
    }
}

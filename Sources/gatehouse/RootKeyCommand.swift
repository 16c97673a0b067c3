// Runs the program that prints the root key, such as one that asks a key management service.

import GatehouseCore
import Glibc

enum RootKeyCommand {
    /// A key service answers within a second or two; a start that hangs helps nobody.
    static let maximumSeconds: Int64 = 15
    /// How much of what a failed program says is passed on: a line or two.
    static let maximumErrorBytes = 512

    /// Runs `words` without a shell, and reads the root key's text form from its standard output, which
    /// no message repeats. The program sees a minimal environment and no open file of ours.
    static func run(
        _ words: [String], environment: [String: String], seconds: Int64 = maximumSeconds
    ) throws(FileRefusal) -> RootKey {
        let program = words.first ?? ""
        func refusal(_ what: String, hint: String = "run it by hand") -> FileRefusal {
            FileRefusal(message: "the root key's command \(program) \(what)", hint: hint)
        }
        var status = stat()
        guard unsafe stat(program, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw refusal("is no file", hint: "name a program by its path in root_key.command")
        }
        guard status.st_mode & 0o022 == 0, status.st_uid == 0 || status.st_uid == geteuid() else {
            throw refusal(
                "can be changed by others",
                hint: "it must belong to root or this user, and nobody else may write to it")
        }
        // Where whoever started us has it ignored, the kernel keeps no exit code.
        _ = signal(SIGCHLD, SIG_DFL)
        guard let child = Child(words, environment: Self.minimal(environment)) else {
            throw refusal("does not start: errno \(errno)", hint: "is it executable?")
        }
        var said = Child.Said()
        let output = SecretBytes(count: RootKeyFile.maximumBytes + 1) { span in
            said = child.listen(into: &span, seconds: seconds)
        }
        let code = child.end(said)
        guard !said.isLate else { throw refusal("did not end within \(seconds) s") }
        guard said.count <= RootKeyFile.maximumBytes else {
            throw refusal("printed more than \(RootKeyFile.maximumBytes) bytes")
        }
        guard code == 0 else {
            throw refusal("ended with \(code)" + Self.message(said.errors))
        }
        do {
            return try output.withSpan { span throws(RootKeyDefect) in
                try RootKey(text: span.extracting(0..<said.count))
            }
        } catch {
            throw refusal(
                "printed what is refused: \(error.message)" + Self.message(said.errors),
                hint: "it must print one line: gatehouse-root-key-1: and 43 characters")
        }
    }

    /// Where programs are, and what one needs to find its own files.
    private static func minimal(_ environment: [String: String]) -> [String] {
        ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"]
            + ["HOME", RootKeySource.directoryVariable].compactMap { name in
                environment[name].map { "\(name)=\($0)" }
            }
    }

    /// What a program said on standard error, as the end of a message; a key that strayed there is not
    /// passed on.
    private static func message(_ errors: [UInt8]) -> String {
        guard !errors.isEmpty else { return "" }
        let text = String(decoding: errors, as: UTF8.self)
        // 32 bytes take 43 characters of base64 and 64 of hex.
        let words = errors.split { byte in
            !(48...57).contains(byte) && !(65...90).contains(byte) && !(97...122).contains(byte)
                && !Array("+/_-=".utf8).contains(byte)
        }
        guard !text.contains("gatehouse-root-key"), words.allSatisfy({ $0.count < 40 }) else {
            return "; what it said may hold a key, and is not shown"
        }
        return ": “"
            + String(text.map { $0.isASCII && $0 >= " " && $0 != "\u{7F}" ? $0 : " " }) + "”"
    }

    /// A process that runs. Whoever makes one calls ``end(_:)``.
    private struct Child {
        struct Said {
            /// Bytes of standard output, at most as many as there is room for.
            var count = 0
            var errors: [UInt8] = []
            var isLate = false
        }

        private let id: pid_t
        private let output: Int32
        private let errors: Int32

        /// Nil, and errno, when it does not start.
        init?(_ words: [String], environment: [String]) {
            var pipes: [Int32] = [-1, -1, -1, -1]
            let isMade = unsafe pipes.withUnsafeMutableBufferPointer { ends in
                guard let base = ends.baseAddress else { return false }
                // SAFETY: each call fills two of the four.
                return unsafe pipe(base) == 0 && pipe(base + 2) == 0
            }
            // Nothing else starts a program meanwhile; and what this one gets are copies.
            for end in pipes { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            let (error, id) = isMade ? Self.spawn(words, environment, pipes) : (errno, 0)
            for end in [pipes[1], pipes[3]] { close(end) }
            guard error == 0 else {
                for end in [pipes[0], pipes[2]] { close(end) }
                errno = error
                return nil
            }
            (self.id, output, errors) = (id, pipes[0], pipes[2])
        }

        private static func spawn(
            _ words: [String], _ environment: [String], _ pipes: [Int32]
        ) -> (error: Int32, id: pid_t) {
            var actions = unsafe posix_spawn_file_actions_t()
            var attributes = posix_spawnattr_t()
            unsafe posix_spawn_file_actions_init(&actions)
            unsafe posix_spawnattr_init(&attributes)
            defer {
                unsafe posix_spawn_file_actions_destroy(&actions)
                unsafe posix_spawnattr_destroy(&attributes)
            }
            unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
            unsafe posix_spawn_file_actions_adddup2(&actions, pipes[1], 1)
            unsafe posix_spawn_file_actions_adddup2(&actions, pipes[3], 2)
            // A group of its own, which can be ended as one; signals as a new program expects them.
            var signals = sigset_t()
            unsafe sigemptyset(&signals)
            unsafe posix_spawnattr_setsigmask(&attributes, &signals)
            unsafe sigaddset(&signals, SIGPIPE)
            unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
            unsafe posix_spawnattr_setpgroup(&attributes, 0)
            unsafe posix_spawnattr_setflags(
                &attributes,
                Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
            // SAFETY: null-terminated arrays of strings that are freed below, after the last use.
            var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
            var variables = unsafe environment.map { unsafe strdup($0) } + [nil]
            defer { unsafe (arguments + variables).forEach { unsafe free($0) } }
            var id: pid_t = 0
            let error = unsafe posix_spawn(
                &id, words[0], &actions, &attributes, &arguments, &variables)
            return (error, id)
        }

        /// Reads until both outputs end, there is no more room, or the time is over.
        func listen(into span: inout MutableSpan<UInt8>, seconds: Int64) -> Said {
            var said = Said()
            var open = [pollfd(fd: output, events: Int16(POLLIN), revents: 0)]
            open.append(pollfd(fd: errors, events: Int16(POLLIN), revents: 0))
            let clock = ContinuousClock()
            let deadline = clock.now.advanced(by: .seconds(seconds))
            var scrap = [UInt8](repeating: 0, count: RootKeyCommand.maximumErrorBytes)
            while open.contains(where: { $0.fd >= 0 }), said.count < span.count {
                let left = clock.now.duration(to: deadline) / .milliseconds(1)
                guard left > 0 else {
                    said.isLate = true
                    break
                }
                // SAFETY: the array's own memory and count.
                let ready = unsafe open.withUnsafeMutableBufferPointer {
                    unsafe poll($0.baseAddress, nfds_t($0.count), Int32(left) + 1)
                }
                guard ready >= 0 || errno == EINTR else { break }
                if ready > 0, open[0].revents != 0 {
                    let start = said.count
                    // SAFETY: `start` is below the span's count.
                    let read = unsafe span.withUnsafeMutableBytes { bytes in
                        unsafe Glibc.read(
                            output, bytes.baseAddress?.advanced(by: start), bytes.count - start)
                    }
                    if read > 0 { said.count += read } else { open[0].fd = -1 }
                }
                if ready > 0, open[1].revents != 0 {
                    let read = unsafe scrap.withUnsafeMutableBytes {
                        unsafe Glibc.read(errors, $0.baseAddress, $0.count)
                    }
                    if read > 0 {
                        let room = RootKeyCommand.maximumErrorBytes - said.errors.count
                        said.errors += scrap[..<min(read, room)]
                    } else {
                        open[1].fd = -1
                    }
                }
            }
            return said
        }

        /// Ends what is left of it; its exit code, or 128 and its signal, as shells count.
        func end(_ said: Said) -> Int32 {
            close(output)
            close(errors)
            var status: Int32 = 0
            // One that closed its outputs and goes on has nothing more to say.
            var tries = said.isLate ? 0 : 100
            while true {
                let ended = unsafe waitpid(id, &status, WNOHANG)
                // Nobody knows how it ended.
                guard ended >= 0 else { return -1 }
                if ended > 0 { break }
                if tries == 0 { kill(-id, SIGKILL) }
                tries -= 1
                usleep(10_000)
            }
            let signal = status & 0x7F
            return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
        }
    }
}

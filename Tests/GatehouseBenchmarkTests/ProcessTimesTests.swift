// The kernel's books: fields are counted right, whatever a program is called.

import Glibc
import Testing

@testable import gatehouse_bench

@Suite struct ProcessTimesTests {
    @Test(arguments: ["gatehouse", "a b", ") R 1 (", "x) S 7 8 9"])
    func `times and parent are found behind any name`(_ name: String) {
        let stat = ProcessStat(
            "42 (\(name)) S 7 42 42 0 -1 4194560 100 0 0 0 1234 567 0 0 20 0 4 0 100 1000 200")
        #expect(stat?.parent == 7)
        #expect(stat?.userTicks == 1234)
        #expect(stat?.systemTicks == 567)
    }

    @Test func `a line that is cut short is none`() {
        #expect(ProcessStat("42 (gatehouse) S 7 42") == nil)
        #expect(ProcessStat("") == nil)
    }

    @Test func `resident memory and its peak are read`() {
        let memory = ProcessMemory(status: "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
        #expect(memory?.residentKiB == 1024)
        #expect(memory?.peakKiB == 2048)
        #expect(ProcessMemory(status: "Name:\tx\n") == nil)
    }

    @Test func `the machine's times leave idleness and interrupts out`() {
        let seconds = MachineTimes.busySeconds(
            "cpu  100 50 25 9999 9999 9999 9999 25 0 0\ncpu0 1 1")
        #expect(seconds == 2.0)
        #expect(MachineTimes.busySeconds("cpu0 100 50") == nil)
    }

    @Test func `this process has a tree and times`() {
        let own = getpid()
        #expect(ProcessTimes.tree(of: [own]).contains(own))
        #expect((ProcessTimes.now(of: [own])?.total ?? 0) > 0)
        #expect(ProcessTimes.now(of: [-5]) == nil)
    }
}

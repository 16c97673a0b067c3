// Days of the calendar, and the business days by which a change is known before it takes effect.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehousePeople

private func day(_ text: String) -> CalendarDay {
    guard let day = CalendarDay(text: text) else { preconditionFailure("no day: \(text)") }
    return day
}

struct CalendarDayTests {
    /// From the table of ISO 8601 weeks that begin or end in another year, and days around leap days.
    @Test(
        arguments: [
            (0, "1970-01-01", "1970-W01"), (3, "1970-01-04", "1970-W01"),
            (4, "1970-01-05", "1970-W02"),
            (11_016, "2000-02-29", "2000-W09"), (11_017, "2000-03-01", "2000-W09"),
            (14_244, "2008-12-31", "2009-W01"), (14_609, "2009-12-31", "2009-W53"),
            (14_612, "2010-01-03", "2009-W53"), (14_613, "2010-01-04", "2010-W01"),
            (20_781, "2026-11-24", "2026-W48"), (47_540, "2100-02-28", "2100-W08"),
            (47_541, "2100-03-01", "2100-W09"), (2_932_896, "9999-12-31", "9999-W52"),
        ] as [(Int64, String, String)])
    func `a day has a date, and a week of ISO 8601`(number: Int64, text: String, week: String) {
        let day = CalendarDay(number: number)
        #expect(day.text == text)
        #expect(day.weekText == week)
        // The first week's Monday was in 1969.
        #expect(number < 4 ? day.weekStart.number == 0 : (day.weekStart.number + 3) % 7 == 0)
        #expect((0..<7).contains(number - day.weekStart.number))
    }

    @Test func `times are what Foundation makes of them`() {
        var generator = SeededGenerator()
        for _ in 0..<2000 {
            let seconds = Int64.random(in: 0...UnixTime.maximumSeconds, using: &generator)
            let expected = Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(.iso8601)
            #expect(time(seconds).rfc3339 == expected, "seed \(generator.seed)")
        }
        #expect(UnixTime.maximum.rfc3339 == "9999-12-31T23:59:59Z")
    }

    @Test(arguments: [
        ("1970-01-01", 0), ("1970-01-02", 1), ("1972-02-29", 789), ("1972-03-01", 790),
        ("2000-02-29", 11_016), ("2000-12-31", 11_322), ("2026-11-24", 20_781),
        ("2100-02-28", 47_540), ("2100-03-01", 47_541), ("9999-12-31", 2_932_896),
    ])
    func `a day is counted as the calendar counts it`(_ text: String, _ number: Int64) {
        #expect(day(text).number == number)
        #expect(day(text).text == text)
        #expect(CalendarDay(of: time(number * 86_400)) == day(text))
        #expect(CalendarDay(of: time(number * 86_400 + 86_399)) == day(text))
        #expect(day(text).start == time(number * 86_400))
    }

    @Test(arguments: [
        "", "2026-1-31", "2026-01-32", "2026-01-00", "2026-00-01", "2026-13-01", "2026-04-31",
        "2027-02-29", "2100-02-29", "1969-12-31", "+026-01-01", "2026/01/01", "2026-01-31Z",
        "２０２６-01-31", "2026-01-3\u{0661}", "20260131", " 2026-01-31",
    ])
    func `what is no day is none`(_ text: String) { #expect(CalendarDay(text: text) == nil) }

    /// 146,097 days are 400 years; Foundation knows the calendar too.
    @Test func `every day of 130 years is written and read as Foundation does`() {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        for number in stride(from: Int64(0), to: 47_600, by: 1) {
            let one = CalendarDay(of: time(number * 86_400))
            #expect(CalendarDay(text: one.text) == one)
            guard number % 7 == 0 else { continue }
            let date = Date(timeIntervalSince1970: Double(number * 86_400))
            #expect(date.formatted(.iso8601.year().month().day()) == one.text)
            #expect(calendar.isDateInWeekend(date) == one.isWeekend)
        }
        #expect(day("2026-11-28").isWeekend && day("2026-11-29").isWeekend)
        #expect(!day("2026-11-27").isWeekend && !day("2026-11-30").isWeekend)
    }
}

struct NoticePeriodTests {
    private static let christmas: Set = [
        day("2026-12-24"), day("2026-12-25"), day("2026-12-26"), day("2026-12-31"),
        day("2027-01-01"),
    ]

    // Promise: notice-period
    @Test(
        arguments: [
            // Tuesday; whole days lie between.
            ("2026-11-24", 1, "2026-11-26"), ("2026-11-24", 2, "2026-11-27"),
            // A weekend counts for nothing, at either end.
            ("2026-11-24", 3, "2026-11-28"), ("2026-11-24", 4, "2026-12-01"),
            ("2026-11-27", 1, "2026-12-01"), ("2026-11-28", 1, "2026-12-01"),
            ("2026-11-29", 1, "2026-12-01"),
            // Holidays, one of them a Saturday, and the end of a year.
            ("2026-12-23", 1, "2026-12-29"), ("2026-12-23", 3, "2026-12-31"),
            ("2026-12-23", 4, "2027-01-05"), ("2026-12-30", 1, "2027-01-05"),
            // The end of a month, and of February.
            ("2028-02-28", 1, "2028-03-01"), ("2028-02-29", 1, "2028-03-02"),
            ("2027-02-26", 1, "2027-03-02"),
            ("2026-11-24", 30, "2027-01-12"),
        ] as [(String, Int, String)])
    func `a change takes effect after so many whole business days, and no sooner`(
        _ published: String, _ count: Int, _ earliest: String
    ) {
        let period = NoticePeriod(businessDays: count, holidays: Self.christmas)
        for second in [0, 1, 43_200, 86_399] as [Int64] {
            let now = day(published).start.advanced(bySeconds: second)
            #expect(period.earliestDay(after: now).text == earliest)
        }
    }

    @Test func `the last days of time don't trap`() {
        let period = NoticePeriod(businessDays: 250)
        #expect(period.earliestDay(after: .maximum) > CalendarDay(of: .maximum))
    }
}

struct NoticeRuleTests {
    private let now = day("2026-11-24").start.advanced(bySeconds: 43_200)
    private let period = NoticePeriod(businessDays: 2)

    private func draft(
        _ effective: String, required: String? = nil, document: String = "terms"
    ) throws -> NoticeDraft {
        try NoticeDraft(
            document: try #require(SubjectName(document)), title: "Terms", text: "Be kind.",
            effective: day(effective), requiredFrom: required.map { day($0) })
    }

    private func refusal(
        _ draft: NoticeDraft, among all: [Notice], at now: UnixTime
    ) -> PublishRefusal? {
        do throws(PublishRefusal) {
            _ = try draft.notice(among: all, period: period, at: now)
        } catch { return error }
        return nil
    }

    @Test func `the first version may take effect at once, and never before`() throws {
        let first = try draft("2026-11-24").notice(among: [], period: period, at: now)
        #expect(first.id.version == 1)
        #expect(first.effective == now && first.published == now && first.requiredFrom == nil)
        #expect(refusal(try draft("2026-11-23"), among: [], at: now) == .inThePast)
        let later = try draft("2026-11-25", required: "2026-11-25")
            .notice(among: [], period: period, at: now)
        #expect(later.effective == day("2026-11-25").start)
        #expect(later.requiredFrom == later.effective)
        #expect(
            refusal(try draft("2026-11-25", required: "2026-11-24"), among: [], at: now)
                == .requiredBeforeEffective)
        // What is required from today on is so from now on.
        let today = try draft("2026-11-24", required: "2026-11-24")
            .notice(among: [], period: period, at: now)
        #expect(today.requiredFrom == now)
    }

    // Promise: notice-period
    @Test func `a change waits, whether the version before is in force or not`() throws {
        for effective in ["2026-11-24", "2026-12-24"] {
            let first = try draft(effective).notice(among: [], period: period, at: now)
            #expect(
                refusal(try draft("2026-11-26"), among: [first], at: now)
                    == .tooSoon(day("2026-11-27")))
        }
        let first = try draft("2026-11-24").notice(among: [], period: period, at: now)
        let second = try draft("2026-11-27").notice(among: [first], period: period, at: now)
        #expect(second.id.version == 2)
        // Another document's first version is nobody's change.
        #expect(
            refusal(try draft("2026-11-24", document: "privacy"), among: [first], at: now) == nil)
    }

    // Promise: self-assessment
    @Test func `a change to come that was published too late is found, and nothing else`() throws {
        let first = try draft("2026-11-24").notice(among: [], period: period, at: now)
        func change(_ effective: String, published: UnixTime? = nil) -> Notice {
            Notice(
                id: NoticeID(document: first.id.document, version: 2), title: "Terms", digest: [],
                published: published ?? now, effective: day(effective).start, requiredFrom: nil)
        }
        #expect(NoticeBoard([first, change("2026-11-27")]).hasty(period, at: now) == [])
        let hasty = change("2026-11-26")
        #expect(NoticeBoard([first, hasty]).hasty(period, at: now) == [hasty])
        #expect(NoticeBoard([first, hasty]).hasty(period, at: hasty.effective) == [])
        #expect(NoticeBoard([hasty]).hasty(period, at: now) == [], "nobody was promised anything")
        // Long enough before, if it were true: it claims to be older than the version before it.
        let backdated = change("2026-12-24", published: now.advanced(bySeconds: -1))
        #expect(NoticeBoard([first, backdated]).hasty(period, at: now) == [backdated])
    }

    @Test func `nothing is published before the version before it was`() throws {
        let first = try draft("2026-11-24").notice(among: [], period: period, at: now)
        let behind = now.advanced(bySeconds: -1)
        let late = try draft("2026-12-24")
        #expect(refusal(late, among: [first], at: now) == nil)
        #expect(refusal(late, among: [first], at: behind) == .publishedLater(first.id))
        let other = try draft("2026-12-24", document: "privacy")
        #expect(refusal(other, among: [first], at: behind) == nil)
    }

    @Test func `what was in force was promised, even where it was taken back afterwards`() throws {
        let first = try draft("2026-11-25").notice(among: [], period: period, at: now)
        func refusal(withdrawn: UnixTime) throws -> PublishRefusal? {
            let gone = Notice(
                id: first.id, title: first.title, digest: first.digest,
                published: first.published, effective: first.effective, requiredFrom: nil,
                withdrawn: withdrawn)
            return self.refusal(try draft("2026-11-26"), among: [gone], at: now)
        }
        #expect(try refusal(withdrawn: first.effective.advanced(bySeconds: -1)) == nil)
        #expect(try refusal(withdrawn: first.effective) == .tooSoon(day("2026-11-27")))
    }

    @Test func `versions take effect in their order, and withdrawn ones are out of it`() throws {
        let first = try draft("2026-12-24").notice(among: [], period: period, at: now)
        #expect(
            refusal(try draft("2026-12-23"), among: [first], at: now) == .beforeEarlier(first.id))
        #expect(refusal(try draft("2026-12-24"), among: [first], at: now) == nil)
        let withdrawn = Notice(
            id: first.id, title: first.title, digest: first.digest, published: first.published,
            effective: first.effective, requiredFrom: nil, withdrawn: now)
        let again = try draft("2026-11-24").notice(among: [withdrawn], period: period, at: now)
        #expect(again.id.version == 2, "numbers are not given twice")
    }

    @Test func `there are so many documents, and no more`() throws {
        let all = try (1...Notice.maximumDocuments).map { number in
            try draft("2026-11-24", document: "d\(number)")
                .notice(among: [], period: period, at: now)
        }
        let other = try draft("2026-11-24", document: "other")
        #expect(refusal(other, among: all, at: now) == .tooManyDocuments)
        #expect(refusal(other, among: Array(all.dropLast()), at: now) == nil)
        #expect(refusal(try draft("2026-12-24", document: "d1"), among: all, at: now) == nil)
        let last = Notice(
            id: NoticeID(document: all[0].id.document, version: 1_000_000), title: "x", digest: [],
            published: now, effective: now, requiredFrom: nil)
        #expect(
            refusal(try draft("2026-12-24", document: "d1"), among: [last], at: now)
                == .tooManyVersions)
    }

    @Test(
        arguments: [
            ("", .empty), (" \n\t", .empty), (String(repeating: "a", count: 65_537), .tooLong),
            ("a\r\nb", .control), ("a\u{0}", .control), ("\u{85}a", .control),
        ] as [(String, NoticeTextRefusal)])
    func `a text that can't be shown as it is, is refused`(
        _ text: String, _ refusal: NoticeTextRefusal
    ) throws {
        let name = try #require(SubjectName("terms"))
        #expect(throws: refusal) {
            try NoticeDraft(
                document: name, title: "T", text: text, effective: day("2026-11-24"),
                requiredFrom: nil)
        }
    }

    @Test func `a text and a title have their limits`() throws {
        let name = try #require(SubjectName("terms"))
        func draft(_ title: String, _ text: String) throws -> NoticeDraft {
            try NoticeDraft(
                document: name, title: title, text: text, effective: day("2026-11-24"),
                requiredFrom: nil)
        }
        _ = try draft("T", String(repeating: "a", count: 65_536))
        _ = try draft(String(repeating: "t", count: 100), "a\tb\nc")
        for title in ["", " ", "a\nb", String(repeating: "t", count: 101)] {
            #expect(throws: NoticeTextRefusal.badTitle) { try draft(title, "a") }
        }
        // FIPS 180-4's first example.
        #expect(
            try draft("T", "abc").digest.map { String($0, radix: 16) }.prefix(4).joined()
                == "ba7816bf")
    }

    @Test func `names are short and plain`() {
        for name in ["a", "terms", "a-1_b", String(repeating: "a", count: 32)] {
            #expect(SubjectName(name) != nil, "\(name)")
        }
        for name in [
            "", "1a", "-a", "A", "a b", "é", "a.b", "a\n", String(repeating: "a", count: 33),
        ] {
            #expect(SubjectName(name) == nil, "\(name)")
        }
        for (text, number) in [
            ("1", 1), ("1000000", 1_000_000), ("0", nil), ("1000001", nil), ("01", nil),
            ("+1", nil), ("", nil), ("1 ", nil), ("٣", nil),
        ] as [(String, Int?)] {
            #expect(SubjectVersion.read(text) == number, "\(text)")
        }
    }
}

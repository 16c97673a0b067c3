// The Bidi rule (RFC 5893 section 2), condition by condition.

import GatehouseCore
import Testing

@Suite struct BidiRuleTests {
    /// `א` is R, `م` is AL, `a` is L, `1` is EN, `١` is AN, `-` is ES, `.` is CS, `#` is ET, `_` is
    /// ON, and U+05B0 is NSM.
    @Test(arguments: [
        // 1: the first is L, R or AL. Without anything from right to left the rule isn't asked.
        ("\u{05D0}b", false), ("1\u{05D0}", false), ("-\u{05D0}", false), ("_\u{05D0}", false),
        ("\u{0661}", false), ("\u{0661}\u{0645}", false), ("1a", true), ("_1", true),
        ("\u{0301}", false),
        // 2: only R, AL, AN, EN, ES, CS, ET, ON, BN and NSM follow R or AL.
        ("\u{05D0}\u{05D1}", true), ("\u{05D0}\u{0645}", true), ("\u{0645}\u{0661}", true),
        ("\u{05D0}1", true), ("\u{05D0}-\u{05D1}", true), ("\u{05D0}.\u{05D1}", true),
        ("\u{05D0}#\u{05D1}", true), ("\u{05D0}_\u{05D1}", true),
        ("\u{05D0}\u{05B0}\u{05D1}", true), ("\u{05D0}a\u{05D1}", false),
        ("\u{05D0}\u{4E00}\u{05D1}", false),
        // 3: the end is R, AL, EN or AN, and marks after it.
        ("\u{05D0}\u{05B0}", true), ("\u{05D0}1\u{05B0}\u{05B1}", true),
        ("\u{0645}\u{0661}\u{064B}", true), ("\u{05D0}-", false), ("\u{05D0}_", false),
        ("\u{05D0}-\u{05B0}", false), ("\u{05D0}#", false),
        // 4: EN and AN exclude one another.
        ("\u{0645}1\u{0661}", false), ("\u{0645}\u{0661}-1", false),
        ("\u{0645}\u{06F1}", true),  // extended Arabic-Indic digits are EN
        // 5 and 6: what begins from left to right contains nothing from right to left.
        ("a\u{05D0}", false), ("a\u{0645}", false), ("a\u{0661}", false),
        ("a1-_\u{0301}", true), ("a-", true),
    ])
    func `each condition holds`(name: String, isAccepted: Bool) {
        #expect(((try? Username(name)) != nil) == isAccepted)
    }

    @Test func `what the rule refuses is told as mixed directions`() {
        for name in ["1\u{05D0}", "\u{05D0}a", "\u{05D0}-", "\u{0645}1\u{0661}", "a\u{05D0}"] {
            #expect(throws: UsernameRefusal.mixedDirections, "\(name)") { try Username(name) }
        }
    }
}

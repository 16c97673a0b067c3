// What Gatehouse needs of ICU, in words of its own: mappings of UTF-8 text and facts about code
// points. No header of ICU is included here, because its module would clash with Foundation's.
#ifndef GATEHOUSE_ICU_H
#define GATEHOUSE_ICU_H

#include <stddef.h>
#include <stdint.h>

// The longest input of a mapping, and the longest output, in bytes. The longest text that Gatehouse
// maps is a password of 1024 bytes. The bound keeps every intermediate form in 8 KiB of stack.
#define GATEHOUSE_ICU_MAXIMUM_BYTES 1024

// How a mapping ended.
enum gatehouse_icu_status {
    GATEHOUSE_ICU_OK = 0,
    // The input is not well-formed UTF-8: overlong, truncated, a surrogate, or past U+10FFFF.
    GATEHOUSE_ICU_INVALID_UTF8 = 1,
    // The input is longer than the maximum, or the output does not fit.
    GATEHOUSE_ICU_TOO_LONG = 2,
    // ICU could not work: memory exhausted or a broken installation.
    GATEHOUSE_ICU_FAILED = 3,
};

// The mappings.
enum gatehouse_icu_mapping {
    // Code points whose decomposition type is wide or narrow, replaced with their decomposition
    // (RFC 8264 section 5.2.1).
    GATEHOUSE_ICU_WIDTH = 0,
    // Lower case by the full Unicode mapping, of no language in particular (RFC 8264 section 5.2.3).
    GATEHOUSE_ICU_LOWER_CASE = 1,
    // Normalisation form C (UAX 15).
    GATEHOUSE_ICU_NFC = 2,
    // In the order in which the text is shown in a line from left to right (UAX 9), mirrored
    // characters replaced; with the prototypes of that, the bidiSkeleton (UTS 39 section 4).
    GATEHOUSE_ICU_DISPLAY_ORDER = 3,
    // Every character replaced with the prototype of what looks like it: internalSkeleton (UTS 39
    // section 4).
    GATEHOUSE_ICU_PROTOTYPES = 4,
};

// Maps `input_count` bytes of UTF-8 at `input` and writes UTF-8 to `output`, which has room for
// `output_capacity` bytes and does not overlap the input. NUL is a character like any other, and
// none is appended.
//
// `*output_count` is the number of bytes written; unless the status is OK, it is 0 and what was
// written has been wiped. Intermediate forms are wiped always: the text may be a password.
enum gatehouse_icu_status gatehouse_icu_map(
    enum gatehouse_icu_mapping mapping, const uint8_t *input, size_t input_count, uint8_t *output,
    size_t output_capacity, size_t *output_count);

// Facts about a code point, as bits of a set.

// Assigned to a character or to private use; neither a surrogate nor a noncharacter.
#define GATEHOUSE_ICU_ASSIGNED (1u << 0)
// General category Ll, Lo or Lm: letters of no case, or lower case.
#define GATEHOUSE_ICU_LETTER (1u << 1)
// General category Mn or Mc.
#define GATEHOUSE_ICU_MARK (1u << 2)
// General category Nd.
#define GATEHOUSE_ICU_DIGIT (1u << 3)
// White_Space, or general category Zs.
#define GATEHOUSE_ICU_SPACE (1u << 4)
// General category Cc.
#define GATEHOUSE_ICU_CONTROL (1u << 5)
// Default_Ignorable_Code_Point, or general category Cf: shows nothing of its own.
#define GATEHOUSE_ICU_INVISIBLE (1u << 6)
// NFKC changes it (RFC 8264 section 9.17, HasCompat).
#define GATEHOUSE_ICU_COMPATIBILITY (1u << 7)
// Bidi_Class R or AL.
#define GATEHOUSE_ICU_RIGHT_TO_LEFT (1u << 8)
// A conjoining Hangul letter, L, V or T (RFC 8264 section 9.9, OldHangulJamo).
#define GATEHOUSE_ICU_CONJOINING_JAMO (1u << 9)
// Bidi_Class L.
#define GATEHOUSE_ICU_LEFT_TO_RIGHT (1u << 10)
// Bidi_Class EN.
#define GATEHOUSE_ICU_EUROPEAN_NUMBER (1u << 11)
// Bidi_Class AN.
#define GATEHOUSE_ICU_ARABIC_NUMBER (1u << 12)
// Bidi_Class NSM.
#define GATEHOUSE_ICU_NONSPACING (1u << 13)
// Bidi_Class ES, CS, ET, ON or BN.
#define GATEHOUSE_ICU_NEUTRAL (1u << 14)

// The facts about `code_point`; none for a surrogate or a number past U+10FFFF.
uint32_t gatehouse_icu_properties(uint32_t code_point);

// What UTS 39 finds wrong with an identifier, as bits of a set.

// A character whose Identifier_Status is not Allowed (section 3.1).
#define GATEHOUSE_ICU_RESTRICTED_CHARACTER (1u << 0)
// Neither one script nor a mixture that is Highly Restrictive (section 5.2).
#define GATEHOUSE_ICU_MIXED_SCRIPTS (1u << 1)
// Digits of several decimal systems (section 5.3).
#define GATEHOUSE_ICU_MIXED_DIGITS (1u << 2)
// A mark that hides in another: repeated, or over a letter that has it (section 5.4).
#define GATEHOUSE_ICU_HIDDEN_MARK (1u << 3)

// Sets `*faults` to what is wrong with the UTF-8 at `text`, 0 if nothing is.
enum gatehouse_icu_status gatehouse_icu_inspect_identifier(
    const uint8_t *text, size_t count, uint32_t *faults);

// The versions of ICU and of Unicode's data at run time: major << 8 | minor.
uint32_t gatehouse_icu_version(void);
uint32_t gatehouse_icu_unicode_version(void);

#endif

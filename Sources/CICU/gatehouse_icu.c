// The one place that calls ICU. ICU works on UTF-16, so text is converted, mapped and converted back
// in buffers on the stack, which are wiped before they are left.

// explicit_bzero
#define _DEFAULT_SOURCE

#include "gatehouse_icu.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <unicode/ubidi.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uset.h>
#include <unicode/uspoof.h>
#include <unicode/ustring.h>
#include <unicode/utf16.h>

enum {
    // A byte of UTF-8 never becomes more than one unit of UTF-16.
    source_units = GATEHOUSE_ICU_MAXIMUM_BYTES,
    // NFC makes at most three units of one (U+FB2C), lower case two (U+0130), width mapping one.
    // Prototypes may be more; what has room as UTF-8 has room here.
    mapped_units = 3 * source_units,
    // The longest compatibility decomposition of a code point has 18 units (U+FDFA).
    compatibility_units = 18,
};

static enum gatehouse_icu_status status_of(UErrorCode error) {
    switch (error) {
    case U_INVALID_CHAR_FOUND:
        return GATEHOUSE_ICU_INVALID_UTF8;
    case U_BUFFER_OVERFLOW_ERROR:
        return GATEHOUSE_ICU_TOO_LONG;
    default:
        return U_SUCCESS(error) ? GATEHOUSE_ICU_OK : GATEHOUSE_ICU_FAILED;
    }
}

// The length of what was written to `mapped`.
static int32_t map_width(
    const UChar *source, int32_t source_count, UChar *mapped, UErrorCode *error) {
    const UNormalizer2 *nfkc = unorm2_getNFKCInstance(error);
    if (U_FAILURE(*error)) return 0;

    int32_t read = 0;
    int32_t written = 0;
    while (read < source_count) {
        UChar32 character;
        int32_t start = read;
        U16_NEXT(source, read, source_count, character);
        int32_t type = u_getIntPropertyValue(character, UCHAR_DECOMPOSITION_TYPE);
        int32_t count = -1;
        if (type == U_DT_WIDE || type == U_DT_NARROW) {
            count = unorm2_getRawDecomposition(
                nfkc, character, mapped + written, mapped_units - written, error);
            if (U_FAILURE(*error)) return 0;
        }
        if (count < 0) {
            count = read - start;
            if (count > mapped_units - written) {
                *error = U_BUFFER_OVERFLOW_ERROR;
                return 0;
            }
            memcpy(mapped + written, source + start, (size_t)count * sizeof(UChar));
        }
        written += count;
    }
    return written;
}

// Checks identifiers, and knows prototypes. Made once; ICU only reads it afterwards, from any thread.
static USpoofChecker *spoof_checker;

static void make_spoof_checker(void) {
    UErrorCode error = U_ZERO_ERROR;
    USpoofChecker *checker = uspoof_open(&error);
    if (U_FAILURE(error)) return;
    USet *allowed = uset_openEmpty();
    uset_addAll(allowed, uspoof_getRecommendedSet(&error));
    uset_addAll(allowed, uspoof_getInclusionSet(&error));
    uspoof_setAllowedChars(checker, allowed, &error);
    uspoof_setRestrictionLevel(checker, USPOOF_HIGHLY_RESTRICTIVE);
    uspoof_setChecks(
        checker,
        USPOOF_CHAR_LIMIT | USPOOF_RESTRICTION_LEVEL | USPOOF_MIXED_NUMBERS | USPOOF_INVISIBLE
            | USPOOF_HIDDEN_OVERLAY,
        &error);
    uset_close(allowed);
    if (U_SUCCESS(error)) spoof_checker = checker;
}

static const USpoofChecker *shared_spoof_checker(UErrorCode *error) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (pthread_once(&once, make_spoof_checker) != 0 || !spoof_checker) {
        *error = U_MEMORY_ALLOCATION_ERROR;
    }
    return spoof_checker;
}

static int32_t map_display_order(
    const UChar *source, int32_t source_count, UChar *mapped, UErrorCode *error) {
    UBiDi *paragraph = ubidi_openSized(source_count, 0, error);
    ubidi_setPara(paragraph, source, source_count, UBIDI_LTR, NULL, error);
    int32_t mapped_count = ubidi_writeReordered(
        paragraph, mapped, mapped_units, UBIDI_KEEP_BASE_COMBINING | UBIDI_DO_MIRRORING, error);
    ubidi_close(paragraph);
    return mapped_count;
}

static int32_t map_units(
    enum gatehouse_icu_mapping mapping, const UChar *source, int32_t source_count, UChar *mapped,
    UErrorCode *error) {
    switch (mapping) {
    case GATEHOUSE_ICU_WIDTH:
        return map_width(source, source_count, mapped, error);
    case GATEHOUSE_ICU_LOWER_CASE:
        return u_strToLower(mapped, mapped_units, source, source_count, "", error);
    case GATEHOUSE_ICU_NFC: {
        const UNormalizer2 *nfc = unorm2_getNFCInstance(error);
        if (U_FAILURE(*error)) return 0;
        return unorm2_normalize(nfc, source, source_count, mapped, mapped_units, error);
    }
    case GATEHOUSE_ICU_DISPLAY_ORDER:
        return map_display_order(source, source_count, mapped, error);
    case GATEHOUSE_ICU_PROTOTYPES:
        return uspoof_getSkeleton(
            shared_spoof_checker(error), 0, source, source_count, mapped, mapped_units, error);
    }
    *error = U_ILLEGAL_ARGUMENT_ERROR;
    return 0;
}

enum gatehouse_icu_status gatehouse_icu_map(
    enum gatehouse_icu_mapping mapping, const uint8_t *input, size_t input_count, uint8_t *output,
    size_t output_capacity, size_t *output_count) {
    *output_count = 0;
    if (input_count > GATEHOUSE_ICU_MAXIMUM_BYTES) return GATEHOUSE_ICU_TOO_LONG;
    // ICU takes null for "no buffer", which empty text may have.
    if (input_count == 0) return GATEHOUSE_ICU_OK;
    if (output_capacity == 0) return GATEHOUSE_ICU_TOO_LONG;
    size_t capacity = output_capacity < GATEHOUSE_ICU_MAXIMUM_BYTES ? output_capacity
                                                                    : GATEHOUSE_ICU_MAXIMUM_BYTES;

    UChar source[source_units];
    UChar mapped[mapped_units];
    UErrorCode error = U_ZERO_ERROR;
    int32_t source_count = 0;
    int32_t mapped_count = 0;
    int32_t written = 0;
    u_strFromUTF8(
        source, source_units, &source_count, (const char *)input, (int32_t)input_count, &error);
    // A buffer filled to its end is a warning of ICU, not a failure; it must not reach the next call.
    if (U_SUCCESS(error)) {
        error = U_ZERO_ERROR;
        mapped_count = map_units(mapping, source, source_count, mapped, &error);
    }
    if (U_SUCCESS(error)) {
        error = U_ZERO_ERROR;
        u_strToUTF8((char *)output, (int32_t)capacity, &written, mapped, mapped_count, &error);
    }
    explicit_bzero(source, sizeof source);
    explicit_bzero(mapped, sizeof mapped);

    enum gatehouse_icu_status status = status_of(error);
    if (status == GATEHOUSE_ICU_OK) {
        *output_count = (size_t)written;
    } else {
        explicit_bzero(output, capacity);
    }
    return status;
}

static bool has_compatibility_mapping(UChar32 code_point) {
    UErrorCode error = U_ZERO_ERROR;
    const UNormalizer2 *nfkc = unorm2_getNFKCInstance(&error);
    UChar source[2];
    UChar mapped[compatibility_units];
    int32_t source_count = 0;
    U16_APPEND_UNSAFE(source, source_count, code_point);
    if (U_FAILURE(error)) return true;
    int32_t mapped_count =
        unorm2_normalize(nfkc, source, source_count, mapped, compatibility_units, &error);
    // What cannot be shown to be free of compatibility mappings counts as having one.
    if (U_FAILURE(error)) return true;
    return u_strCompare(source, source_count, mapped, mapped_count, false) != 0;
}

uint32_t gatehouse_icu_properties(uint32_t code_point) {
    if (code_point > UCHAR_MAX_VALUE || U_IS_SURROGATE(code_point)) return 0;
    UChar32 character = (UChar32)code_point;
    uint32_t properties = 0;

    uint32_t category = U_GET_GC_MASK(character);
    if (!(category & U_GC_CN_MASK)) properties |= GATEHOUSE_ICU_ASSIGNED;
    if (category & (U_GC_LL_MASK | U_GC_LO_MASK | U_GC_LM_MASK)) properties |= GATEHOUSE_ICU_LETTER;
    if (category & (U_GC_MN_MASK | U_GC_MC_MASK)) properties |= GATEHOUSE_ICU_MARK;
    if (category & U_GC_ND_MASK) properties |= GATEHOUSE_ICU_DIGIT;
    if ((category & U_GC_ZS_MASK) || u_isUWhiteSpace(character)) {
        properties |= GATEHOUSE_ICU_SPACE;
    }
    if (category & U_GC_CC_MASK) properties |= GATEHOUSE_ICU_CONTROL;
    if ((category & U_GC_CF_MASK)
        || u_hasBinaryProperty(character, UCHAR_DEFAULT_IGNORABLE_CODE_POINT)) {
        properties |= GATEHOUSE_ICU_INVISIBLE;
    }
    if (has_compatibility_mapping(character)) properties |= GATEHOUSE_ICU_COMPATIBILITY;

    UCharDirection direction = u_charDirection(character);
    switch (direction) {
    case U_RIGHT_TO_LEFT:
    case U_RIGHT_TO_LEFT_ARABIC:
        properties |= GATEHOUSE_ICU_RIGHT_TO_LEFT;
        break;
    case U_LEFT_TO_RIGHT:
        properties |= GATEHOUSE_ICU_LEFT_TO_RIGHT;
        break;
    case U_EUROPEAN_NUMBER:
        properties |= GATEHOUSE_ICU_EUROPEAN_NUMBER;
        break;
    case U_ARABIC_NUMBER:
        properties |= GATEHOUSE_ICU_ARABIC_NUMBER;
        break;
    case U_DIR_NON_SPACING_MARK:
        properties |= GATEHOUSE_ICU_NONSPACING;
        break;
    case U_EUROPEAN_NUMBER_SEPARATOR:
    case U_COMMON_NUMBER_SEPARATOR:
    case U_EUROPEAN_NUMBER_TERMINATOR:
    case U_OTHER_NEUTRAL:
    case U_BOUNDARY_NEUTRAL:
        properties |= GATEHOUSE_ICU_NEUTRAL;
        break;
    default:
        break;
    }

    int32_t syllable = u_getIntPropertyValue(character, UCHAR_HANGUL_SYLLABLE_TYPE);
    if (syllable == U_HST_LEADING_JAMO || syllable == U_HST_VOWEL_JAMO
        || syllable == U_HST_TRAILING_JAMO) {
        properties |= GATEHOUSE_ICU_CONJOINING_JAMO;
    }
    return properties;
}

enum gatehouse_icu_status gatehouse_icu_inspect_identifier(
    const uint8_t *text, size_t count, uint32_t *faults) {
    *faults = 0;
    if (count > GATEHOUSE_ICU_MAXIMUM_BYTES) return GATEHOUSE_ICU_TOO_LONG;
    UErrorCode error = U_ZERO_ERROR;
    UChar units[source_units];
    int32_t unit_count = 0;
    u_strFromUTF8(units, source_units, &unit_count, (const char *)text, (int32_t)count, &error);
    if (U_SUCCESS(error)) error = U_ZERO_ERROR;
    const USpoofChecker *checker = shared_spoof_checker(&error);
    int32_t found = uspoof_check(checker, units, unit_count, NULL, &error);
    if (found & USPOOF_CHAR_LIMIT) *faults |= GATEHOUSE_ICU_RESTRICTED_CHARACTER;
    if (found & USPOOF_RESTRICTION_LEVEL) *faults |= GATEHOUSE_ICU_MIXED_SCRIPTS;
    if (found & USPOOF_MIXED_NUMBERS) *faults |= GATEHOUSE_ICU_MIXED_DIGITS;
    if (found & (USPOOF_INVISIBLE | USPOOF_HIDDEN_OVERLAY)) *faults |= GATEHOUSE_ICU_HIDDEN_MARK;
    return status_of(error);
}

static uint32_t major_and_minor(const UVersionInfo version) {
    return (uint32_t)version[0] << 8 | version[1];
}

uint32_t gatehouse_icu_version(void) {
    UVersionInfo version;
    u_getVersion(version);
    return major_and_minor(version);
}

uint32_t gatehouse_icu_unicode_version(void) {
    UVersionInfo version;
    u_getUnicodeVersion(version);
    return major_and_minor(version);
}

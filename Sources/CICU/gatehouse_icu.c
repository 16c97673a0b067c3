// The one place that calls ICU. ICU works on UTF-16, so text is converted, mapped and converted back
// in buffers on the stack, which are wiped before they are left.

// explicit_bzero
#define _DEFAULT_SOURCE

#include "gatehouse_icu.h"

#include <stdbool.h>
#include <string.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unicode/utf16.h>

enum {
    // A byte of UTF-8 never becomes more than one unit of UTF-16.
    source_units = GATEHOUSE_ICU_MAXIMUM_BYTES,
    // NFC makes at most three units of one (U+FB2C), lower case two (U+0130), width mapping one.
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
    if (direction == U_RIGHT_TO_LEFT || direction == U_RIGHT_TO_LEFT_ARABIC
        || direction == U_ARABIC_NUMBER) {
        properties |= GATEHOUSE_ICU_RIGHT_TO_LEFT;
    }

    int32_t syllable = u_getIntPropertyValue(character, UCHAR_HANGUL_SYLLABLE_TYPE);
    if (syllable == U_HST_LEADING_JAMO || syllable == U_HST_VOWEL_JAMO
        || syllable == U_HST_TRAILING_JAMO) {
        properties |= GATEHOUSE_ICU_CONJOINING_JAMO;
    }
    return properties;
}

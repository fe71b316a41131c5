/* Entropy-coded data as a string of bits. */

#ifndef FASTPT_BITS_H
#define FASTPT_BITS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The 57 bits or more from bit `at` on, the first of them highest. */
static inline uint64_t window_at(const uint8_t *bytes, size_t at) {
    uint64_t word;
    memcpy(&word, bytes + at / 8, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word << at % 8;
}

/* Copy data to `to`, up to `end` or to the next marker, without the zeros that are stuffed in after each 0xff. Up to 8
   bytes more are written. Returns the end of the copy; `*from` is where reading stopped. */
static inline uint8_t *unstuff(const uint8_t **from, const uint8_t *end, uint8_t *to) {
    const uint64_t ones = UINT64_MAX / 255;
    const uint8_t *at = *from;
    while (end - at >= 8) {
        uint64_t eight;
        memcpy(&eight, at, 8);
        memcpy(to, &eight, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        eight = __builtin_bswap64(eight);
#endif
        const uint64_t is_ff = (~eight - ones) & eight & 128 * ones; /* bit 7 of the first byte that is, and of others */
        const int before = is_ff ? __builtin_ctzll(is_ff) / 8 : 8;
        to += before, at += before;
        if (!is_ff) continue;
        if (end - at < 2 || at[1]) break;
        to++, at += 2;
    }
    while (at < end && (*at != 0xff || (end - at >= 2 && !at[1]))) {
        *to++ = *at;
        at += *at == 0xff ? 2 : 1;
    }
    *from = at;
    return to;
}

#endif

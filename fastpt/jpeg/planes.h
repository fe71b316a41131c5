/* Planes, resized, and pixels. Included once for each level (levels.h).

   A strip is 16 rows of samples, 8 and 8, as the inverse DCT leaves them: for each pair of columns two vectors. The first
   has rows 0 to 3 of either eight, the second rows 4 to 7; of each row the two samples side by side, so that a sum of
   products takes both. What comes of it are rows in pairs, likewise: of each place the samples of both rows, side by
   side. Places are in groups of four, and of 16 the second group and the third have changed places, because of the way
   in which `pack32` puts two vectors together. */

#include "levels.h"
#include "simd.h"

#define ACROSS_SHIFT 7 /* samples have 7 bits more after it: 14 of the weights, less these */
#define DOWN_SHIFT 15  /* and 6 bits more than 8 after this */

/* The samples of a strip as bytes: 8 rows of `width` from `first` on, 8 from `second`. */
static void bytes(const int16_t *strip, size_t width, uint8_t *first, uint8_t *second) {
    const vec middle = all16(128);
    for (size_t x = 0; x < width; x += 8, strip += 128)
        for (int four = 0; four < 2; four++) {
            const int16_t *from = strip + 16 * four;
            uint8_t *one = first + x + 4 * four * width, *other = second + x + 4 * four * width;
            const vec v0 = load(from), v1 = load(from + 32), v2 = load(from + 64), v3 = load(from + 96);
            const vec a = lo32(v0, v1), b = hi32(v0, v1), c = lo32(v2, v3), d = hi32(v2, v3);
            store_bytes(one, other, add16(lo64(a, c), middle));
            store_bytes(one + width, other + width, add16(hi64(a, c), middle));
            store_bytes(one + 2 * width, other + 2 * width, add16(lo64(b, d), middle));
            store_bytes(one + 3 * width, other + 3 * width, add16(hi64(b, d), middle));
        }
}

/* Four samples' worth of 16 rows: the transposed of what four positions across give. */
static inline __attribute__((always_inline)) void strip_across(const int16_t *strip, const struct taps *taps, int size,
                                                               int16_t *const rows[8], const int pairs) {
    const int16_t *weights = taps->weights;
    for (int x = 0; x < size; x += 4) {
        vec v[4];
        for (int i = 0; i < 4; i++, weights += 2 * pairs) {
            const int16_t *from = strip + 32 * (ptrdiff_t)taps->first[x + i];
            vec lo = all32(1 << (ACROSS_SHIFT - 1)), hi = lo;
            for (int j = 0; j < pairs; j++, from += 32) {
                const vec weight = all_pairs(weights + 2 * j);
                lo = add32(lo, madd(load(from), weight)), hi = add32(hi, madd(load(from + 16), weight));
            }
            v[i] = pack32(sra32(lo, ACROSS_SHIFT), sra32(hi, ACROSS_SHIFT));
        }
        const vec a = lo32(v[0], v[1]), b = hi32(v[0], v[1]), c = lo32(v[2], v[3]), d = hi32(v[2], v[3]);
        const int group = x / 4, at = 32 * (group / 4) + 8 * ((group & 1) << 1 | (group >> 1 & 1));
        store_halves(rows[0] + at, rows[4] + at, lo64(a, c));
        store_halves(rows[1] + at, rows[5] + at, hi64(a, c));
        store_halves(rows[2] + at, rows[6] + at, lo64(b, d));
        store_halves(rows[3] + at, rows[7] + at, hi64(b, d));
    }
}

static inline __attribute__((always_inline)) void row_down(const int16_t *const *rows, const int16_t *weights, int size,
                                                           int16_t *out, const int pairs) {
    for (int x = 0; x < size; x += 16) {
        vec lo = all32(1 << (DOWN_SHIFT - 1)), hi = lo;
        for (int j = 0; j < pairs; j++) {
            const vec weight = all_pairs(weights + 2 * j);
            lo = add32(lo, madd(load(rows[j] + 2 * x), weight)), hi = add32(hi, madd(load(rows[j] + 2 * x + 16), weight));
        }
        store(out + x, pack32(sra32(lo, DOWN_SHIFT), sra32(hi, DOWN_SHIFT)));
    }
}

/* The commonest numbers of pairs have loops of their own, unrolled. */
#define BY_PAIRS(call) \
    switch (pairs) { \
    case 1: { enum { PAIRS = 1 }; call; break; } \
    case 2: { enum { PAIRS = 2 }; call; break; } \
    case 3: { enum { PAIRS = 3 }; call; break; } \
    default: { const int PAIRS = pairs; call; } \
    }

static void across(const int16_t *strip, const struct taps *taps, int size, int16_t *const rows[8]) {
    const int pairs = taps->pairs;
    BY_PAIRS(strip_across(strip, taps, size, rows, PAIRS))
}

static void down(const int16_t *const *rows, const int16_t *weights, int pairs, int size, int16_t *out) {
    BY_PAIRS(row_down(rows, weights, size, out, PAIRS))
}

/* JFIF's R = Y + 1.402 Cr, G = Y - 0.344136 Cb - 0.714136 Cr, B = Y + 1.772 Cb, of numbers less 128 with 6 bits more than
   8; constants are in 1/65536, less 1 or 2 where they would not fit. */
static inline void store_pixels(uint8_t *out, vec y, vec cb, vec cr) {
    y = adds16(y, all16((128 << 6) + 32));
    const vec r = adds16(adds16(y, cr), mulhi16(cr, all16(26345)));
    const vec g = adds16(adds16(subs16(y, cr), mulhi16(cr, all16(18734))), mulhi16(cb, all16(-22554)));
    const vec b = adds16(adds16(y, adds16(cb, cb)), mulhi16(cb, all16(-14942)));
    store_rgb(out, sra16(r, 6), sra16(g, 6), sra16(b, 6));
}

static void colour(const int16_t *y, const int16_t *cb, const int16_t *cr, int size, uint8_t *out) {
    const vec none = all16(0);
    for (int x = 0; x < size; x += 16) {
        uint8_t last[48], *to = size - x < 16 ? last : out + 3 * x;
        store_pixels(to, load(y + x), cb ? load(cb + x) : none, cr ? load(cr + x) : none);
        if (to == last) memcpy(out + 3 * x, last, 3 * (size - x));
    }
}

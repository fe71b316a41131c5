/* The inverse DCT of libjpeg's jidctint.c ("islow"), to the bit. Included once for each level (levels.h).

   Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications" (1989), with constants
   of 13 bits. Here its products are written out: as sums of two products at a time, which is what vectors do best, and
   which are exact, so that the order makes no difference. Columns first, then rows, as there. */

#include "levels.h"
#include "simd.h"

#define PASS1_BITS 2
#define CONST_BITS 13

/* a * p + b * q for the eight numbers of each half, 32 bits: [0] those that lo16 takes, [1] those that hi16 takes */
struct sums {
    vec part[2];
};

struct pairs {
    vec part[2];
};

static inline vec constants(int p, int q) { return all32((int32_t)((uint32_t)(uint16_t)q << 16 | (uint16_t)p)); }

static inline struct pairs interleave(vec a, vec b) { return (struct pairs){{lo16(a, b), hi16(a, b)}}; }

static inline struct sums products(struct pairs x, int p, int q) {
    const vec c = constants(p, q);
    return (struct sums){{madd(x.part[0], c), madd(x.part[1], c)}};
}

static inline struct sums plus(struct sums a, struct sums b) {
    return (struct sums){{add32(a.part[0], b.part[0]), add32(a.part[1], b.part[1])}};
}

static inline struct sums minus(struct sums a, struct sums b) {
    return (struct sums){{sub32(a.part[0], b.part[0]), sub32(a.part[1], b.part[1])}};
}

static inline vec rounded(struct sums a, const int shift) {
    return pack32(sra32(a.part[0], shift), sra32(a.part[1], shift));
}

/* One dimension of all eight lines of both blocks; v[4] to v[7] are 0 if `few`. */
static inline __attribute__((always_inline)) void one_dimension(vec v[8], const int shift, const int few) {
    const vec none = all16(0);
    const struct sums half = {{all32(1 << (shift - 1)), all32(1 << (shift - 1))}};
    struct sums even0, even1, even2, even3, odd0, odd1, odd2, odd3;
    const struct pairs v04 = interleave(v[0], few ? none : v[4]), v26 = interleave(v[2], few ? none : v[6]);
    const struct pairs v13 = interleave(v[1], v[3]);
    even0 = plus(products(v04, 8192, few ? 0 : 8192), half);
    even1 = few ? even0 : plus(products(v04, 8192, -8192), half);
    even2 = products(v26, 4433, few ? 0 : -10704);
    even3 = products(v26, 10703, few ? 0 : 4433);
    odd0 = products(v13, 2260, -6436);
    odd1 = products(v13, 6437, -11362);
    odd2 = products(v13, 9633, -2259);
    odd3 = products(v13, 11363, 9633);
    if (!few) {
        const struct pairs v57 = interleave(v[5], v[7]);
        odd0 = plus(odd0, products(v57, 9633, -11363));
        odd1 = plus(odd1, products(v57, 2261, 9633));
        odd2 = plus(odd2, products(v57, -11362, -6436));
        odd3 = plus(odd3, products(v57, 6437, 2260));
    }
    const struct sums a = plus(even0, even3), b = plus(even1, even2), c = minus(even1, even2), d = minus(even0, even3);
    v[0] = rounded(plus(a, odd3), shift), v[7] = rounded(minus(a, odd3), shift);
    v[1] = rounded(plus(b, odd2), shift), v[6] = rounded(minus(b, odd2), shift);
    v[2] = rounded(plus(c, odd1), shift), v[5] = rounded(minus(c, odd1), shift);
    v[3] = rounded(plus(d, odd0), shift), v[4] = rounded(minus(d, odd0), shift);
}

/* Rows for columns, in each half. */
static inline __attribute__((always_inline)) void transpose(vec v[8]) {
    const vec a0 = lo16(v[0], v[1]), a1 = hi16(v[0], v[1]), a2 = lo16(v[2], v[3]), a3 = hi16(v[2], v[3]);
    const vec a4 = lo16(v[4], v[5]), a5 = hi16(v[4], v[5]), a6 = lo16(v[6], v[7]), a7 = hi16(v[6], v[7]);
    const vec b0 = lo32(a0, a2), b1 = hi32(a0, a2), b2 = lo32(a1, a3), b3 = hi32(a1, a3);
    const vec b4 = lo32(a4, a6), b5 = hi32(a4, a6), b6 = lo32(a5, a7), b7 = hi32(a5, a7);
    v[0] = lo64(b0, b4), v[1] = hi64(b0, b4), v[2] = lo64(b1, b5), v[3] = hi64(b1, b5);
    v[4] = lo64(b2, b6), v[5] = hi64(b2, b6), v[6] = lo64(b3, b7), v[7] = hi64(b3, b7);
}

static inline vec cut8(vec a) { return max16(min16(a, all16(127)), all16(-128)); }

/* Column pairs of both blocks, to where each belongs. */
static inline __attribute__((always_inline)) void store_columns(const vec v[8], int16_t *out, int step) {
    for (int x = 0; x < 8; x += 2, out += 32) {
        const vec even = cut8(v[x]), odd = cut8(v[x + 1]);
        store_halves(out, out + step, lo16(even, odd));
        store_halves(out + 16, out + 16 + step, hi16(even, odd));
    }
}

static inline __attribute__((always_inline)) void inverse_pair(const int16_t *one, const int16_t *other,
                                                               const int16_t *quantisation, int16_t *out, int step,
                                                               const int few) {
    vec v[8];
    for (int y = 0; y < (few ? 4 : 8); y++)
        v[y] = mullo16(load_halves(one + 8 * y, other + 8 * y), load(quantisation + 16 * y));
    one_dimension(v, CONST_BITS - PASS1_BITS, few);
    transpose(v);
    one_dimension(v, CONST_BITS + PASS1_BITS + 3, few);
    store_columns(v, out, step);
}

/* Both blocks are of one value each. */
static inline void inverse_flat(const int16_t *one, const int16_t *other, const int16_t *quantisation, int16_t *out, int step) {
    const vec coefficients = mullo16(load_halves(one, other), load(quantisation));
    vec flat = lo16(coefficients, coefficients);
    flat = lo32(flat, flat), flat = lo64(flat, flat);
    flat = cut8(sra16(adds16(flat, all16(4)), 3));
    for (int x = 0; x < 8; x++, out += 16) store_halves(out, out + step, flat);
}

static void inverse_row(const struct block *blocks, int count, int apart, const int16_t *quantisation, int16_t *out, int step) {
    for (int i = 0; i < count; i += 2, blocks += 2 * apart, out += 2 * step) {
        const struct block *next = i + 1 < count ? blocks + apart : blocks;
        const int16_t *one = blocks->coefficients, *other = next->coefficients;
        const int most = blocks->passed > next->passed ? blocks->passed : next->passed;
        if (most <= 1) inverse_flat(one, other, quantisation, out, step);
        else if (most <= 10) inverse_pair(one, other, quantisation, out, step, 1); /* the first 10 lie in 4 x 4 */
        else inverse_pair(one, other, quantisation, out, step, 0);
    }
}

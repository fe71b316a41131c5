/* The forward DCT of libjpeg's jfdctint.c ("islow") and its quantisation, to the bit. Included once for each level
   (levels.h).

   The algorithm is that of idct.h, turned around; here, too, its products are written out. */

#include "levels.h"
#include "idct.h"

/* One dimension of all eight lines of both blocks. The first one leaves PASS1_BITS bits more, which the second removes. */
static inline __attribute__((always_inline)) void forward_dimension(vec v[8], const int first) {
    const int shift = first ? CONST_BITS - PASS1_BITS : CONST_BITS + PASS1_BITS;
    const struct sums half = {{all32(1 << (shift - 1)), all32(1 << (shift - 1))}};
    const vec t0 = adds16(v[0], v[7]), t1 = adds16(v[1], v[6]), t2 = adds16(v[2], v[5]), t3 = adds16(v[3], v[4]);
    const vec t7 = subs16(v[0], v[7]), t6 = subs16(v[1], v[6]), t5 = subs16(v[2], v[5]), t4 = subs16(v[3], v[4]);
    const vec even0 = adds16(t0, t3), even1 = adds16(t1, t2), sum = adds16(even0, even1), difference = subs16(even0, even1);
    const struct pairs even = interleave(subs16(t0, t3), subs16(t1, t2)), t45 = interleave(t4, t5), t67 = interleave(t6, t7);
    const vec rounding = all16(1 << (PASS1_BITS - 1)), more = all16(1 << PASS1_BITS);
    v[0] = first ? mullo16(sum, more) : sra16(adds16(sum, rounding), PASS1_BITS);
    v[4] = first ? mullo16(difference, more) : sra16(adds16(difference, rounding), PASS1_BITS);
    v[2] = rounded(plus(products(even, 10703, 4433), half), shift);
    v[6] = rounded(plus(products(even, 4433, -10704), half), shift);
    v[1] = rounded(plus(plus(products(t45, 2260, 6437), products(t67, 9633, 11363)), half), shift);
    v[3] = rounded(plus(plus(products(t45, -6436, -11362), products(t67, -2259, 9633)), half), shift);
    v[5] = rounded(plus(plus(products(t45, 9633, 2261), products(t67, -11362, 6437)), half), shift);
    v[7] = rounded(plus(plus(products(t45, -11363, 9633), products(t67, -6436, 2260)), half), shift);
}

/* Coefficients are 8 times what they should be, at most 2^13. One is divided by d, 8 times its step, and rounded:
   |x| + d / 2 = n < 2^14, and n / d is n times `factor`, 2^(16 + s) / d rounded up, without its lowest 16 + s bits. That is
   exact where n d < 2^(16 + s), and s is such that d <= 4 * 2^s. */
static inline vec quantised(vec x, const int16_t *half, const int16_t *factor, const int16_t *shift) {
    const vec sign = sra16(x, 15), n = adds16(max16(x, subs16(all16(0), x)), load(half));
    const vec quotient = mulhi16(mulhi16(adds16(n, n), load(factor)), load(shift));
    return mullo16(quotient, adds16(adds16(sign, sign), all16(1)));
}

static void forward_pair(const uint8_t *from, ptrdiff_t stride, const struct divisors *divisors, int16_t out[2][64],
                         uint64_t nonzero[2]) {
    vec v[8];
    for (int y = 0; y < 8; y++) v[y] = subs16(load_bytes(from + y * stride), all16(128));
    transpose(v);
    forward_dimension(v, 1);
    transpose(v);
    forward_dimension(v, 0);
    nonzero[0] = nonzero[1] = 0;
    for (int y = 0; y < 8; y++) {
        const vec row = quantised(v[y], divisors->half + 16 * y, divisors->factor + 16 * y, divisors->shift + 16 * y);
        const uint64_t bits = not_0(row);
        store_halves(out[0] + 8 * y, out[1] + 8 * y, row);
        nonzero[0] |= (bits & 0xff) << 8 * y, nonzero[1] |= bits >> 8 << 8 * y;
    }
}

/* Vectors of 16 numbers of 16 bits, or 8 of 32 bits, in AVX2, SSE2 or plain C: whoever includes this has said which, by
   AVX2, SSE2 or neither. All of them give the same results, so what is written once with these is the same thrice.

   A vector is two halves of 16 bytes: what moves numbers between places (lo, hi, pack) does so within each half. */

#ifndef FASTPT_SIMD_H
#define FASTPT_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(AVX2)

#include <immintrin.h>

typedef __m256i vec;

static inline vec load(const int16_t *at) { return _mm256_loadu_si256((const __m256i *)at); }
static inline vec load_halves(const int16_t *first, const int16_t *second) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)first)),
                                   _mm_loadu_si128((const __m128i *)second), 1);
}
static inline void store(int16_t *at, vec a) { _mm256_storeu_si256((__m256i *)at, a); }
static inline void store_halves(int16_t *first, int16_t *second, vec a) {
    _mm_storeu_si128((__m128i *)first, _mm256_castsi256_si128(a));
    _mm_storeu_si128((__m128i *)second, _mm256_extracti128_si256(a, 1));
}
/* 16 bytes as numbers; and numbers, cut off at 0 and 255, as 8 bytes of each half. */
static inline vec load_bytes(const uint8_t *at) { return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)at)); }
static inline void store_bytes(uint8_t *first, uint8_t *second, vec a) {
    const vec bytes = _mm256_packus_epi16(a, a);
    _mm_storel_epi64((__m128i *)first, _mm256_castsi256_si128(bytes));
    _mm_storel_epi64((__m128i *)second, _mm256_extracti128_si256(bytes, 1));
}
/* Which numbers are not 0, one bit each. */
static inline uint32_t not_0(vec a) {
    const vec none = _mm256_cmpeq_epi16(a, _mm256_setzero_si256());
    const uint32_t bits = ~_mm256_movemask_epi8(_mm256_packs_epi16(none, none));
    return (bits & 0xff) | (bits >> 8 & 0xff00);
}
static inline vec all16(int16_t a) { return _mm256_set1_epi16(a); }
static inline vec all32(int32_t a) { return _mm256_set1_epi32(a); }
static inline vec add16(vec a, vec b) { return _mm256_add_epi16(a, b); }
static inline vec adds16(vec a, vec b) { return _mm256_adds_epi16(a, b); }
static inline vec subs16(vec a, vec b) { return _mm256_subs_epi16(a, b); }
static inline vec mullo16(vec a, vec b) { return _mm256_mullo_epi16(a, b); }
static inline vec mulhi16(vec a, vec b) { return _mm256_mulhi_epi16(a, b); }
static inline vec min16(vec a, vec b) { return _mm256_min_epi16(a, b); }
static inline vec max16(vec a, vec b) { return _mm256_max_epi16(a, b); }
static inline vec sra16(vec a, int n) { return _mm256_srai_epi16(a, n); }
static inline vec madd(vec a, vec b) { return _mm256_madd_epi16(a, b); }
static inline vec add32(vec a, vec b) { return _mm256_add_epi32(a, b); }
static inline vec sub32(vec a, vec b) { return _mm256_sub_epi32(a, b); }
static inline vec sra32(vec a, int n) { return _mm256_srai_epi32(a, n); }
static inline vec pack32(vec a, vec b) { return _mm256_packs_epi32(a, b); }
static inline vec lo16(vec a, vec b) { return _mm256_unpacklo_epi16(a, b); }
static inline vec hi16(vec a, vec b) { return _mm256_unpackhi_epi16(a, b); }
static inline vec lo32(vec a, vec b) { return _mm256_unpacklo_epi32(a, b); }
static inline vec hi32(vec a, vec b) { return _mm256_unpackhi_epi32(a, b); }
static inline vec lo64(vec a, vec b) { return _mm256_unpacklo_epi64(a, b); }
static inline vec hi64(vec a, vec b) { return _mm256_unpackhi_epi64(a, b); }

/* 16 pixels, 48 bytes, of three vectors, cut off at 0 and 255. */
static inline void store_rgb(uint8_t *out, vec r, vec g, vec b) {
    const vec rg = _mm256_packus_epi16(r, g), bb = _mm256_packus_epi16(b, b); /* of 8 pixels in each half */
    const __m128i first_rg = _mm_setr_epi8(0, 8, -1, 1, 9, -1, 2, 10, -1, 3, 11, -1, 4, 12, -1, 5);
    const __m128i first_b = _mm_setr_epi8(-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1);
    const __m128i last_rg = _mm_setr_epi8(13, -1, 6, 14, -1, 7, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m128i last_b = _mm_setr_epi8(-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, -1, -1, -1, -1, -1, -1);
    const vec first = _mm256_or_si256(_mm256_shuffle_epi8(rg, _mm256_broadcastsi128_si256(first_rg)),
                                      _mm256_shuffle_epi8(bb, _mm256_broadcastsi128_si256(first_b)));
    const vec last = _mm256_or_si256(_mm256_shuffle_epi8(rg, _mm256_broadcastsi128_si256(last_rg)),
                                     _mm256_shuffle_epi8(bb, _mm256_broadcastsi128_si256(last_b)));
    _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(first));
    _mm_storel_epi64((__m128i *)(out + 16), _mm256_castsi256_si128(last));
    _mm_storeu_si128((__m128i *)(out + 24), _mm256_extracti128_si256(first, 1));
    _mm_storel_epi64((__m128i *)(out + 40), _mm256_extracti128_si256(last, 1));
}

#elif defined(SSE2)

#include <emmintrin.h>

typedef struct { __m128i half[2]; } vec;

#define EACH(expression0, expression1) ((vec){{expression0, expression1}})
#define UNARY(function, a, n) EACH(function(a.half[0], n), function(a.half[1], n))
#define BINARY(function, a, b) EACH(function(a.half[0], b.half[0]), function(a.half[1], b.half[1]))

static inline void store_halves(int16_t *first, int16_t *second, vec a) {
    _mm_storeu_si128((__m128i *)first, a.half[0]);
    _mm_storeu_si128((__m128i *)second, a.half[1]);
}
static inline vec load_halves(const int16_t *first, const int16_t *second) {
    return EACH(_mm_loadu_si128((const __m128i *)first), _mm_loadu_si128((const __m128i *)second));
}
static inline vec load(const int16_t *at) { return load_halves(at, at + 8); }
static inline void store(int16_t *at, vec a) { store_halves(at, at + 8, a); }
static inline vec load_bytes(const uint8_t *at) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)at), none = _mm_setzero_si128();
    return EACH(_mm_unpacklo_epi8(bytes, none), _mm_unpackhi_epi8(bytes, none));
}
static inline void store_bytes(uint8_t *first, uint8_t *second, vec a) {
    const __m128i bytes = _mm_packus_epi16(a.half[0], a.half[1]);
    _mm_storel_epi64((__m128i *)first, bytes);
    _mm_storel_epi64((__m128i *)second, _mm_srli_si128(bytes, 8));
}
static inline uint32_t not_0(vec a) {
    const vec none = EACH(_mm_cmpeq_epi16(a.half[0], _mm_setzero_si128()), _mm_cmpeq_epi16(a.half[1], _mm_setzero_si128()));
    return ~_mm_movemask_epi8(_mm_packs_epi16(none.half[0], none.half[1])) & 0xffff;
}
static inline vec all16(int16_t a) { return EACH(_mm_set1_epi16(a), _mm_set1_epi16(a)); }
static inline vec all32(int32_t a) { return EACH(_mm_set1_epi32(a), _mm_set1_epi32(a)); }
static inline vec add16(vec a, vec b) { return BINARY(_mm_add_epi16, a, b); }
static inline vec adds16(vec a, vec b) { return BINARY(_mm_adds_epi16, a, b); }
static inline vec subs16(vec a, vec b) { return BINARY(_mm_subs_epi16, a, b); }
static inline vec mullo16(vec a, vec b) { return BINARY(_mm_mullo_epi16, a, b); }
static inline vec mulhi16(vec a, vec b) { return BINARY(_mm_mulhi_epi16, a, b); }
static inline vec min16(vec a, vec b) { return BINARY(_mm_min_epi16, a, b); }
static inline vec max16(vec a, vec b) { return BINARY(_mm_max_epi16, a, b); }
static inline vec sra16(vec a, int n) { return UNARY(_mm_srai_epi16, a, n); }
static inline vec madd(vec a, vec b) { return BINARY(_mm_madd_epi16, a, b); }
static inline vec add32(vec a, vec b) { return BINARY(_mm_add_epi32, a, b); }
static inline vec sub32(vec a, vec b) { return BINARY(_mm_sub_epi32, a, b); }
static inline vec sra32(vec a, int n) { return UNARY(_mm_srai_epi32, a, n); }
static inline vec pack32(vec a, vec b) { return BINARY(_mm_packs_epi32, a, b); }
static inline vec lo16(vec a, vec b) { return BINARY(_mm_unpacklo_epi16, a, b); }
static inline vec hi16(vec a, vec b) { return BINARY(_mm_unpackhi_epi16, a, b); }
static inline vec lo32(vec a, vec b) { return BINARY(_mm_unpacklo_epi32, a, b); }
static inline vec hi32(vec a, vec b) { return BINARY(_mm_unpackhi_epi32, a, b); }
static inline vec lo64(vec a, vec b) { return BINARY(_mm_unpacklo_epi64, a, b); }
static inline vec hi64(vec a, vec b) { return BINARY(_mm_unpackhi_epi64, a, b); }

#undef EACH
#undef UNARY
#undef BINARY

/* SSE2 cannot shuffle bytes: each pixel is stored as R, G, B, 0, and the next one covers the 0. */
static inline void store_rgb(uint8_t *out, vec r, vec g, vec b) {
    for (int half = 0; half < 2; half++) {
        const __m128i rg = _mm_packus_epi16(r.half[half], g.half[half]), none = _mm_setzero_si128();
        const __m128i pairs = _mm_unpacklo_epi8(rg, _mm_srli_si128(rg, 8));
        const __m128i b0 = _mm_unpacklo_epi8(_mm_packus_epi16(b.half[half], none), none);
        const __m128i four[2] = {_mm_unpacklo_epi16(pairs, b0), _mm_unpackhi_epi16(pairs, b0)};
        for (int x = 0; x < 8; x++, out += 3) {
            uint32_t pixels[4];
            _mm_storeu_si128((__m128i *)pixels, four[x / 4]);
            if (half && x == 7) memcpy(out, &pixels[3], 3);
            else memcpy(out, &pixels[x % 4], 4);
        }
    }
}

#else

typedef union { int16_t s[16]; int32_t i[8]; int64_t q[4]; } vec;

static inline int16_t cut16(int32_t a) { return a < -32768 ? -32768 : a > 32767 ? 32767 : a; }

#define EACH16(expression) vec c; for (int i = 0; i < 16; i++) c.s[i] = (expression); return c
#define EACH32(expression) vec c; for (int i = 0; i < 8; i++) c.i[i] = (expression); return c

static inline vec load_halves(const int16_t *first, const int16_t *second) {
    vec a;
    memcpy(a.s, first, 16), memcpy(a.s + 8, second, 16);
    return a;
}
static inline vec load(const int16_t *at) { return load_halves(at, at + 8); }
static inline void store(int16_t *at, vec a) { memcpy(at, &a, sizeof a); }
static inline void store_halves(int16_t *first, int16_t *second, vec a) {
    memcpy(first, a.s, 16), memcpy(second, a.s + 8, 16);
}
static inline vec load_bytes(const uint8_t *at) { EACH16(at[i]); }
static inline uint8_t byte_of(int16_t a) { return a < 0 ? 0 : a > 255 ? 255 : a; }
static inline void store_bytes(uint8_t *first, uint8_t *second, vec a) {
    for (int i = 0; i < 8; i++) first[i] = byte_of(a.s[i]), second[i] = byte_of(a.s[8 + i]);
}
static inline uint32_t not_0(vec a) {
    uint32_t bits = 0;
    for (int i = 0; i < 16; i++) bits |= (uint32_t)(a.s[i] != 0) << i;
    return bits;
}
static inline vec all16(int16_t a) { EACH16(a); }
static inline vec all32(int32_t a) { EACH32(a); }
static inline vec add16(vec a, vec b) { EACH16((int16_t)(a.s[i] + b.s[i])); }
static inline vec adds16(vec a, vec b) { EACH16(cut16(a.s[i] + b.s[i])); }
static inline vec subs16(vec a, vec b) { EACH16(cut16(a.s[i] - b.s[i])); }
static inline vec mullo16(vec a, vec b) { EACH16((int16_t)(a.s[i] * b.s[i])); }
static inline vec mulhi16(vec a, vec b) { EACH16(a.s[i] * b.s[i] >> 16); }
static inline vec min16(vec a, vec b) { EACH16(a.s[i] < b.s[i] ? a.s[i] : b.s[i]); }
static inline vec max16(vec a, vec b) { EACH16(a.s[i] > b.s[i] ? a.s[i] : b.s[i]); }
static inline vec sra16(vec a, int n) { EACH16(a.s[i] >> n); }
static inline vec madd(vec a, vec b) { EACH32(a.s[2 * i] * b.s[2 * i] + a.s[2 * i + 1] * b.s[2 * i + 1]); }
static inline vec add32(vec a, vec b) { EACH32(a.i[i] + b.i[i]); }
static inline vec sub32(vec a, vec b) { EACH32(a.i[i] - b.i[i]); }
static inline vec sra32(vec a, int n) { EACH32(a.i[i] >> n); }
static inline vec pack32(vec a, vec b) { EACH16(cut16((i & 4 ? b : a).i[(i & 8) / 2 + (i & 3)])); }
static inline vec lo16(vec a, vec b) { EACH16((i & 1 ? b : a).s[(i & 8) + (i & 7) / 2]); }
static inline vec hi16(vec a, vec b) { EACH16((i & 1 ? b : a).s[(i & 8) + (i & 7) / 2 + 4]); }
static inline vec lo32(vec a, vec b) { EACH32((i & 1 ? b : a).i[(i & 4) + (i & 3) / 2]); }
static inline vec hi32(vec a, vec b) { EACH32((i & 1 ? b : a).i[(i & 4) + (i & 3) / 2 + 2]); }
static inline vec lo64(vec a, vec b) { return (vec){.q = {a.q[0], b.q[0], a.q[2], b.q[2]}}; }
static inline vec hi64(vec a, vec b) { return (vec){.q = {a.q[1], b.q[1], a.q[3], b.q[3]}}; }

#undef EACH16
#undef EACH32

static inline void store_rgb(uint8_t *out, vec r, vec g, vec b) {
    for (int x = 0; x < 16; x++, out += 3) out[0] = byte_of(r.s[x]), out[1] = byte_of(g.s[x]), out[2] = byte_of(b.s[x]);
}

#endif

/* The pair of numbers at `at`, in all places. */
static inline vec all_pairs(const int16_t *at) {
    int32_t pair;
    memcpy(&pair, at, 4);
    return all32(pair);
}

#endif

/* What is written once and compiled for several instruction sets, all with the same results: a level each. */

#ifndef FASTPT_LEVELS_H
#define FASTPT_LEVELS_H

#include <stddef.h>
#include <stdint.h>

#include "symbols.h"
#include "taps.h"

#define MOST_MCU_BLOCKS 10
#define IN_TURN 3        /* stretches */
#define SPARE 64         /* bytes that may be read past the end of a stretch's data */
#define NEAR_STOP 4      /* blocks: more than the symbols of one round of looks can end */

struct block {
    int16_t coefficients[65]; /* in rows; then what would come past the last one */
    int16_t passed;           /* how many coefficients its symbols have passed, with BLOCK_ENDS if they ended it */
    const symbol *ac, *next;  /* tables: of its AC symbols, and of the DC symbol of the next block */
} __attribute__((aligned(16)));

/* Blocks of one row of MCUs, decoded one after the other. */
struct stretch {
    size_t at, end;      /* bits: where it is, and where its data end */
    struct block *block; /* the next one; */
    size_t passed;       /* how many coefficients of it have been passed; 0: it has not begun */
    const symbol *table; /* and that of its next symbol */
    const struct block *near_stop, *stop; /* NEAR_STOP blocks before it is done, and where it is */
};

/* How coefficients are divided by 8 times the steps of quantisation, see dct.h; of each row twice the same. */
struct divisors {
    int16_t half[128], factor[128], shift[128];
};

struct level {
    const char *name;
    /* Decode one to IN_TURN stretches in turn until one is at its stop or past its end; returns which. */
    int (*decode)(struct stretch *const *stretches, int count, const uint8_t *bytes);
    /* The samples of `count` blocks, `apart` blocks from each other, by libjpeg's accurate inverse DCT ("islow"), less 128.
       `quantisation` is int16 [8, 16], twice the same side by side. The samples of two blocks go to places that are `step`
       numbers apart; see planes.h. */
    void (*inverse)(const struct block *blocks, int count, int apart, const int16_t *quantisation, int16_t *out, int step);
    void (*bytes)(const int16_t *strip, size_t width, uint8_t *first, uint8_t *second);
    void (*across)(const int16_t *strip, const struct taps *taps, int size, int16_t *const rows[8]);
    void (*down)(const int16_t *const *rows, const int16_t *weights, int pairs, int size, int16_t *out);
    void (*colour)(const int16_t *y, const int16_t *cb, const int16_t *cr, int size, uint8_t *out);
    /* The quantised coefficients of two blocks, in rows: those of the 8 x 16 bytes at `from`, rows `stride` bytes apart.
       `nonzero` says which of them are not 0, one bit each. */
    void (*forward)(const uint8_t *from, ptrdiff_t stride, const struct divisors *divisors, int16_t out[2][64],
                    uint64_t nonzero[2]);
};

extern const struct level plain_level;
#if defined(__SSE2__)
extern const struct level sse2_level;
#if defined(__GNUC__) && !defined(__clang__)
#define HAVE_AVX2
extern const struct level avx2_level;
#endif
#endif

#endif

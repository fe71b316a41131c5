/* Tables by which a walk goes through entropy-coded data without decoding it: only lengths matter, so one look at LOOK
   bits passes all the symbols that begin in them. */

#ifndef FASTPT_HUFFMAN_H
#define FASTPT_HUFFMAN_H

#include <stdint.h>

#include "markers.h"

#define LOOK 11 /* 12 are no faster, and take twice the cache */
#define MOST_LONG 2048 /* of the 65,536 numbers of 16 bits: those that begin with a code of more than LOOK bits */

/* A skip's advance is added to a number whose lower six bits count the coefficients of a block that are passed. Then these
   bits say more: the look went too far, or found no code (PAST); the block has ended (END, if not PAST); what comes next
   stands in another table, since this was the DC symbol (REST). */
enum { PAST = 1 << 6, END = 1 << 7, NO_CODE = PAST | END, REST = 1 << 8 };

/* What LOOK bits begin with. */
struct skip {
    uint8_t bits;     /* to go forward; 0 with NO_CODE: the first code is longer than LOOK bits, or there is none */
    uint8_t code;     /* of these, the length of the first code */
    uint16_t advance; /* coefficients passed, at most 64; plus END where the last symbol was an end of block */
};

/* Codes are numbered by length, so those of more than LOOK bits are the highest. */
struct skip_table {
    int defined, kind;                /* DC or AC */
    uint8_t counts[16], symbols[256]; /* as in the file */
    int32_t first_code[17];           /* of each length; and where its symbols begin */
    int first_symbol[17];
    struct skip one[1 << LOOK];       /* the first symbol */
    uint32_t first_long;              /* the first number of LOOK bits with which long codes begin */
    struct skip many[(1 << LOOK) + MOST_LONG]; /* as many symbols as begin in LOOK bits (of DC one); then long codes */
};

/* What a window of 64 bits begins with, by `many` and `first_long` of a table. */
static inline struct skip many_symbols(const struct skip *many, uint32_t first_long, uint64_t window) {
    const uint32_t look = window >> (64 - LOOK);
    if (__builtin_expect(look < first_long, 1)) return many[look];
    return many[(1 << LOOK) + (window >> 48) - (first_long << (16 - LOOK))];
}

/* The table for a Huffman table of a JPEG, which is there; NULL if that is none. It is kept: most pictures have the same
   ones. It lives until the same thread asks for another one of this kind and number. */
const struct skip_table *skip_table(const struct jpeg *jpeg, int kind, int number);

/* The first symbol of a window of 64 bits; NO_CODE if it begins with none. */
struct skip first_symbol(const struct skip_table *table, uint64_t window);

#endif

/* Tables by which a walk goes through entropy-coded data without decoding it: only lengths matter, so one look at LOOK
   bits passes all the symbols that begin in them. */

#ifndef FASTPT_HUFFMAN_H
#define FASTPT_HUFFMAN_H

#include <stdint.h>

#include "markers.h"

#define LOOK 12
#define STOP 128

/* What LOOK bits begin with. */
struct skip {
    uint8_t bits;    /* to go forward; 0: the first code is longer than LOOK bits, or there is none */
    uint8_t code;    /* of these, the length of the first code */
    uint8_t advance; /* coefficients passed; more than there are (STOP) where `bits` is 0 or the block ends */
    uint8_t ends;    /* whether it ends with an end of block */
};

struct skip_table {
    int defined, kind;                /* DC or AC */
    uint8_t counts[16], symbols[256]; /* as in the file */
    struct skip one[1 << LOOK];       /* the first symbol */
    struct skip many[1 << LOOK];      /* as many symbols as begin in these bits, for AC */
    int32_t first_code[17];           /* of each length; and where its symbols begin */
    int first_symbol[17];
};

/* The table for a Huffman table of a JPEG, which is there; NULL if that is none. It is kept: most pictures have the same
   ones. It lives until the same thread asks for another one of this kind and number. */
const struct skip_table *skip_table(const struct jpeg *jpeg, int kind, int number);

/* The first symbol of a window of 64 bits; `bits` is 0 if it begins with no code. */
struct skip first_symbol(const struct skip_table *table, uint64_t window);

#endif

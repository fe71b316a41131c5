/* Tables that decode: the symbol that LOOK_BITS bits begin with, value included. */

#ifndef FASTPT_SYMBOLS_H
#define FASTPT_SYMBOLS_H

#include <stdint.h>

#include "markers.h"

#define LOOK_BITS 11
#define BLOCK_ENDS 128 /* coefficients that an end of block passes, beside those before it */
#define NO_CODE 192    /* and what is no code */

/* A symbol with its value, in the bits of one number, the lowest first:
     8  how many bits it has, those of its value included; 0: they are more than LOOK_BITS
     8  how many coefficients it passes, its own included; BLOCK_ENDS, or NO_CODE
    16  the value, of a coefficient or of a DC predictor's change; 0 for a run of 16 zeros and for an end of block
   Where the code alone fits into LOOK_BITS, the number has instead of the value
     8  how many bits the code has, 8 those of the value. */
typedef uint32_t symbol;

static inline int is_long(symbol s) { return !(uint8_t)s; }
static inline unsigned bits_of(symbol s) { return s & 63; }
static inline unsigned passed_by(symbol s) { return (uint8_t)(s >> 8); }
static inline int16_t value_of(symbol s) { return (int16_t)(s >> 16); }

struct symbol_table {
    int defined, kind;
    uint8_t counts[16], meanings[256]; /* as in the file */
    int32_t first_code[17];            /* of each length; and where its symbols begin */
    int first_symbol[17];
    symbol look[1 << LOOK_BITS];
};

/* Make the table of this kind (DC or AC), unless it is that already. Returns 0 if it is no Huffman code, or has values
   that 8-bit pictures have not. */
int make_symbol_table(struct symbol_table *table, int kind, const struct huffman *huffman);

/* The symbol at the beginning of a window of 64 bits whose code has more than LOOK_BITS, by the table of which this is
   `look`. */
symbol long_code(const symbol *look, uint64_t window);

/* A symbol of `size` bits of value, after a code of `length` bits at the beginning of the window: T.81, F.2.2.1. */
static inline symbol symbol_with_value(unsigned length, unsigned size, unsigned passed, uint64_t window) {
    const uint64_t rest = window << length;
    const int32_t value = (int32_t)(rest >> (63 - size) >> 1), negative = (int32_t)(rest >> 63) - 1;
    return (length + size) | passed << 8 | (uint32_t)(value - (((1 << size) - 1) & negative)) << 16;
}

/* The symbol of which `look` said `s`: that it has more than LOOK_BITS. */
static inline symbol long_symbol(symbol s, const symbol *look, uint64_t window) {
    if (!s) return long_code(look, window);
    return symbol_with_value(s >> 16 & 255, s >> 24, passed_by(s), window);
}

#endif

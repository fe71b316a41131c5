/* The coefficients of blocks, out of entropy-coded data. Included once for each level (levels.h). */

#include "bits.h"
#include "levels.h"
#include "symbols.h"

/* Where each coefficient of a block is stored, by how many have been passed with it, in zigzag order: in eight rows.
   What lies past the last one is put aside. */
static const uint8_t natural[256] = {
#define AT(r, c) (8 * (r) + (c))
    64, AT(0, 0),
    AT(0, 1), AT(1, 0), AT(2, 0), AT(1, 1), AT(0, 2), AT(0, 3), AT(1, 2), AT(2, 1), AT(3, 0), AT(4, 0), AT(3, 1),
    AT(2, 2), AT(1, 3), AT(0, 4), AT(0, 5), AT(1, 4), AT(2, 3), AT(3, 2), AT(4, 1), AT(5, 0), AT(6, 0), AT(5, 1),
    AT(4, 2), AT(3, 3), AT(2, 4), AT(1, 5), AT(0, 6), AT(0, 7), AT(1, 6), AT(2, 5), AT(3, 4), AT(4, 3), AT(5, 2),
    AT(6, 1), AT(7, 0), AT(7, 1), AT(6, 2), AT(5, 3), AT(4, 4), AT(3, 5), AT(2, 6), AT(1, 7), AT(2, 7), AT(3, 6),
    AT(4, 5), AT(5, 4), AT(6, 3), AT(7, 2), AT(7, 3), AT(6, 4), AT(5, 5), AT(4, 6), AT(3, 7), AT(4, 7), AT(5, 6),
    AT(6, 5), AT(7, 4), AT(7, 5), AT(6, 6), AT(5, 7), AT(6, 7), AT(7, 6), AT(7, 7),
#undef AT
#define ASIDE 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64
    ASIDE, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64
#undef ASIDE
};

#define INLINE static inline __attribute__((always_inline))

/* What changes with every look. The highest bits of the window come next; its lowest 1 was put in when it was filled, so
   that what lies below it tells how many bits have gone since. */
struct hand {
    uint64_t window;
    size_t at;           /* bits: where it was filled */
    const symbol *table; /* for what comes next */
    struct block *block;
    size_t passed;       /* coefficients of the block */
};

INLINE size_t place_of(const struct hand *hand) { return hand->at + __builtin_ctzll(hand->window); }

/* 56 bits or more, less the one that marks the end. */
INLINE void fill_window(struct hand *hand, size_t at, const uint8_t *bytes) {
    hand->at = at, hand->window = window_at(bytes, at) | 1;
}

/* To the next symbol, which is of the next block if this one is at its end. */
INLINE void go_on(struct hand *hand) {
    const symbol *table = hand->block->ac;
#ifdef __x86_64__ /* compilers would jump */
    __asm__("cmpq $63, %[passed]\n\t"
            "cmova %[first], %[table]\n\t"
            "cmova %[next], %[block]\n\t"
            "cmova %[none], %[passed]"
            : [passed] "+r"(hand->passed), [table] "+r"(table), [block] "+r"(hand->block)
            : [first] "m"(hand->block->next), [next] "r"(hand->block + 1), [none] "rm"((size_t)0)
            : "cc");
#else
    const int ends = hand->passed > 63;
    table = ends ? hand->block->next : table;
    hand->block += ends;
    hand->passed = ends ? 0 : hand->passed;
#endif
    hand->table = table;
}

/* One symbol. There is no jump that depends on it, unless it is a long one: blocks end where nobody can predict it. A DC
   symbol is stored as it is, the change of a predictor. */
INLINE void look(struct hand *hand, const uint8_t *bytes) {
    symbol s = hand->table[hand->window >> (64 - LOOK_BITS)];
    if (__builtin_expect(is_long(s), 0)) {
        fill_window(hand, place_of(hand), bytes);
        s = long_symbol(s, hand->table, hand->window);
        fill_window(hand, hand->at + bits_of(s), bytes);
    } else {
        hand->window <<= bits_of(s);
    }
    hand->passed += passed_by(s);
    hand->block->coefficients[natural[hand->passed]] = value_of(s);
    hand->block->passed = (int16_t)hand->passed;
    go_on(hand);
}

INLINE struct hand take(const struct stretch *stretch, const uint8_t *bytes) {
    struct hand hand = {.block = stretch->block, .passed = stretch->passed, .table = stretch->table};
    fill_window(&hand, stretch->at, bytes);
    return hand;
}

INLINE void put_back(const struct hand *hand, struct stretch *stretch) {
    stretch->at = place_of(hand), stretch->block = hand->block, stretch->passed = hand->passed, stretch->table = hand->table;
}

/* A window is good for so many looks; a symbol of more than LOOK_BITS fills it anew. */
#define LOOKS 5

/* Whether there are so many blocks and bits left that a round of looks goes past neither. */
INLINE int goes_on(const struct hand *hand, const struct stretch *stretch) {
    return hand->block < stretch->near_stop && hand->at <= stretch->end;
}

/* Decode `n` stretches in turn, until one of them is near its stop. A Huffman decoder waits for its own last look; others
   fill the time. */
INLINE void in_turn(struct stretch *const *stretches, const int n, const uint8_t *bytes) {
    struct hand a = take(stretches[0], bytes), b = take(stretches[n > 1], bytes), c = take(stretches[n > 2 ? 2 : 0], bytes);
    while (goes_on(&a, stretches[0]) && (n < 2 || goes_on(&b, stretches[1])) && (n < 3 || goes_on(&c, stretches[2]))) {
#pragma GCC unroll 8
        for (int i = 0; i < LOOKS; i++) {
            look(&a, bytes);
            if (n > 1) look(&b, bytes);
            if (n > 2) look(&c, bytes);
        }
        fill_window(&a, place_of(&a), bytes);
        if (n > 1) fill_window(&b, place_of(&b), bytes);
        if (n > 2) fill_window(&c, place_of(&c), bytes);
    }
    put_back(&a, stretches[0]);
    if (n > 1) put_back(&b, stretches[1]);
    if (n > 2) put_back(&c, stretches[2]);
}

/* The last few blocks of a stretch. */
static void finish(struct stretch *stretch, const uint8_t *bytes) {
    struct hand hand = take(stretch, bytes);
    while (hand.block < stretch->stop && hand.at <= stretch->end) {
        look(&hand, bytes);
        fill_window(&hand, place_of(&hand), bytes);
    }
    put_back(&hand, stretch);
}

static int decode_in_turn(struct stretch *const *stretches, int n, const uint8_t *bytes) {
    switch (n) {
    case 1: in_turn(stretches, 1, bytes); break;
    case 2: in_turn(stretches, 2, bytes); break;
    default: in_turn(stretches, 3, bytes);
    }
    for (int i = 0; i < n; i++)
        if (stretches[i]->block >= stretches[i]->near_stop || stretches[i]->at > stretches[i]->end)
            return finish(stretches[i], bytes), i;
    return 0;
}

/* Walks through all entropy-coded data of a JPEG without decoding it: is it whole, to the last bit? And where may a
   decoder enter it (entries.h)?

   Called through ctypes (entropy.py). The answer is "sound" only where the headers are those of markers.h and libjpeg
   would find nothing to warn of: every code is in its table, every block ends within its 64 coefficients, restart
   markers come where they must, and the end marker follows the last bit. Anything else is "unknown", for libjpeg to
   judge. Nothing here trusts a byte.

   Each look at the data has to wait for the one before it to know where it begins. So several lanes walk in turn, each
   through its own part of the data: while one waits, the others go on. Only the first lane knows where it begins. The
   others guess, and soon fall into step: a Huffman decoder that began at a wrong bit comes upon the end of a block sooner
   or later. What they found counts from the first place where a lane that is known to be right has met them, at the
   beginning of the same block of an MCU. From there on both would do the same; so nothing of the verdict is a guess. */

#include "walk.h"

#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "entries.h"
#include "huffman.h"
#include "markers.h"

enum { UNKNOWN, SOUND };

#define LANES 4
#define LEAST_BITS 16384 /* of a lane */
#define OVERLAP 4096     /* bits that a lane goes on into the part of the next one, to meet it there */
#define STEPS 32         /* of all lanes between two looks at whether they are done */
#define SPARE 512        /* bytes: more than STEPS can run past the end of the data */
#define MOST_BLOCKS_A_MCU 10

/* A place in an MCU where symbols of one table come: the DC symbol of a block, or what follows it. */
struct place {
    const struct skip *many;
    uint32_t first_long, after; /* the state of a lane when the block has ended */
    const struct skip_table *table; /* that these are of */
    int component;
} __attribute__((aligned(REST)));

/* All places, those of a block beside each other. */
struct grammar {
    struct place places[2 * MOST_BLOCKS_A_MCU];
    int blocks;
};

/* Entropy-coded data up to a marker, without the zeros that are stuffed in after each 0xff. */
struct segment {
    const uint8_t *bytes; /* and at least SPARE more, of any value */
    size_t bits;          /* how many it has */
};

struct lane {
    size_t at, end;   /* bits: how far it is, and where it may stop */
    uint32_t state;   /* bytes before its place in the grammar, plus coefficients passed (see huffman.h) */
    int guesses;      /* whether to begin again where there is no code before its last byte, */
    int stuck;        /* or stay there */
    uint32_t *starts; /* bits: where blocks begin, the first of them the first of an MCU */
    uint32_t *next;   /* of these, that of the block which has not ended */
};

static struct lane lane_from(size_t at, size_t end, uint32_t *starts, int guesses) {
    starts[0] = at;
    return (struct lane){.at = at, .end = end, .starts = starts, .next = starts, .guesses = guesses};
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static inline const struct place *place_of(const struct grammar *grammar, uint32_t state) {
    return (const struct place *)((const char *)grammar->places + (state & ~(REST - 1)));
}

/* The number of blocks that have ended. */
static size_t passed(const struct lane *lane) { return lane->next - lane->starts; }

static int may_go_on(const struct lane *lane, size_t end, size_t most) {
    return lane->at < end && !lane->stuck && passed(lane) <= most;
}

/* One symbol alone: near the end of the block, where the symbols after its last are not its own. */
static __attribute__((noinline)) void careful_step(struct lane *lane, const struct grammar *grammar, const uint8_t *bytes) {
    const struct skip skip = first_symbol(place_of(grammar, lane->state)->table, window_at(bytes, lane->at));
    const uint32_t state = lane->state + skip.advance;
    if ((state & PAST) && (state & 255) != PAST) { /* no code, or more than 64 coefficients */
        if (lane->guesses && lane->at + 8 <= lane->end) *lane = lane_from(lane->at + 1, lane->end, lane->starts, 1);
        else lane->stuck = 1;
        return;
    }
    lane->at += skip.bits;
    lane->state = state & PAST ? state + (END - PAST) : state;
}

static inline struct lane step(struct lane lane, struct lane *home, const struct grammar *grammar, const uint8_t *bytes) {
    const struct place *place = place_of(grammar, lane.state);
    const struct skip skip = many_symbols(place->many, place->first_long, window_at(bytes, lane.at));
    const uint32_t state = lane.state + skip.advance;
    if (__builtin_expect(state & PAST, 0)) {
        *home = lane;
        careful_step(home, grammar, bytes);
        lane = *home;
    } else lane.at += skip.bits, lane.state = state;
    /* Without a branch: when a block ends can seldom be foretold. */
    const int32_t ended = (int32_t)(lane.state * (UINT32_MAX / (2 * END) + 1)) >> 31; /* -1 or 0 */
    lane.next[1] = lane.at;
    lane.next -= ended;
    lane.state ^= (lane.state ^ place->after) & ended;
    return lane;
}

/* STEPS steps of each of `count` lanes, in turn. `count` is a constant where this is inlined. */
static inline __attribute__((always_inline)) void steps(struct lane **lanes, const int count,
                                                        const struct grammar *grammar, const uint8_t *bytes) {
    struct lane a = *lanes[0], b = *lanes[count > 1 ? 1 : 0], c = *lanes[count > 2 ? 2 : 0], d = *lanes[count > 3 ? 3 : 0];
    for (int n = 0; n < STEPS; n++) {
        a = step(a, lanes[0], grammar, bytes);
        if (count > 1) b = step(b, lanes[1], grammar, bytes);
        if (count > 2) c = step(c, lanes[2], grammar, bytes);
        if (count > 3) d = step(d, lanes[3], grammar, bytes);
    }
    *lanes[0] = a;
    if (count > 1) *lanes[1] = b;
    if (count > 2) *lanes[2] = c;
    if (count > 3) *lanes[3] = d;
}

/* Walk until each of `count` lanes is at its end, or has passed more than `most` blocks. */
static void walk(struct lane *lanes, int count, size_t most, const struct grammar *grammar, const uint8_t *bytes) {
    struct lane *going[LANES];
    for (int i = 0; i < count; i++) going[i] = &lanes[i];
    for (;;) {
        for (int i = count - 1; i >= 0; i--)
            if (!may_go_on(going[i], going[i]->end, most)) going[i] = going[--count];
        switch (count) {
        case 0: return;
        case 1: steps(going, 1, grammar, bytes); break;
        case 2: steps(going, 2, grammar, bytes); break;
        case 3: steps(going, 3, grammar, bytes); break;
        default: steps(going, LANES, grammar, bytes);
        }
    }
}

/* Take over what a lane that guessed has found, from where this one met it. Returns whether they have met. */
static int join(struct lane *lane, const struct lane *guess, size_t most, int blocks) {
    const size_t walked = least(passed(lane), most), guessed = passed(guess); /* it may have gone past the end */
    size_t i = walked, j = 0;
    while (i > 0 && lane->starts[i - 1] >= guess->starts[0]) i--;
    for (; i <= walked && j <= guessed; i++, j++) {
        if (lane->starts[i] < guess->starts[j]) j--;
        else if (lane->starts[i] > guess->starts[j]) i--;
        else if (i % blocks == j % blocks) break;
    }
    if (i > walked || j > guessed) return 0;
    const size_t more = least(guessed - j, most - i); /* and so may the other */
    memcpy(lane->starts + i, guess->starts + j, (more + 1) * sizeof *lane->starts);
    lane->at = guess->at, lane->state = guess->state, lane->next = lane->starts + i + more;
    return 1;
}

/* Whether the segment is `count` blocks, to the last bit. Their places go into `starts`, which has room for LANES times
   count + STEPS + 2. */
static int walk_segment(struct segment segment, const struct grammar *grammar, size_t count, uint32_t *starts) {
    const size_t room = count + STEPS + 2;
    struct lane lanes[LANES];
    int n = segment.bits / LEAST_BITS;
    n = n < 1 ? 1 : n > LANES ? LANES : n;
    for (int i = 0; i < n; i++)
        lanes[i] = lane_from(segment.bits * i / n, segment.bits * (i + 1) / n + OVERLAP, starts + i * room, i > 0);
    lanes[n - 1].end = segment.bits;
    walk(lanes, n, count, grammar, segment.bytes);
    for (int i = 1; i < n; i++) {
        const size_t last = least(lanes[i].at, segment.bits);
        while (!join(&lanes[0], &lanes[i], count, grammar->blocks) && may_go_on(&lanes[0], last, count)) {
            lanes[0].end = least(lanes[0].at + OVERLAP, last);
            walk(lanes, 1, count, grammar, segment.bytes);
        }
    }
    lanes[0].end = segment.bits;
    walk(lanes, 1, count, grammar, segment.bytes);
    return passed(&lanes[0]) >= count && starts[count] <= segment.bits && segment.bits - starts[count] < 8;
}

static int is_marker(const uint8_t *at, const uint8_t *end, int marker) {
    return end - at >= 2 && at[0] == 0xff && at[1] == marker;
}

/* Whether all of the scan is there. `starts` tells where its blocks begin if it is one segment. */
static int walk_scan(const struct jpeg *jpeg, const struct grammar *grammar, uint8_t *room, uint32_t *starts) {
    const uint8_t *end = jpeg->data + jpeg->length, *at = jpeg->data + jpeg->scan;
    const int mcus = jpeg->across * jpeg->down, interval = jpeg->restart_interval ? jpeg->restart_interval : mcus;
    for (int mcu = 0, restarts = 0; mcu < mcus; mcu += interval) {
        if (mcu && !is_marker(at, end, 0xd0 + restarts++ % 8)) return UNKNOWN;
        const size_t blocks = (size_t)grammar->blocks * (mcus - mcu < interval ? mcus - mcu : interval);
        at += mcu ? 2 : 0;
        const struct segment segment = {room, 8 * (unstuff(&at, end, room) - room)};
        if (!walk_segment(segment, grammar, blocks, starts)) return UNKNOWN;
    }
    return is_marker(at, end, 0xd9) ? SOUND : UNKNOWN;
}

/* The change of the DC predictor that a block begins with. Its value is negative if its first bit is 0. */
static inline int32_t dc_change(const struct place *place, uint64_t window) {
    const struct skip skip = many_symbols(place->many, place->first_long, window);
    const int size = skip.bits - skip.code;
    window <<= skip.code;
    const int32_t value = window >> 1 >> (63 - size), negative = (int32_t)(window >> 63) - 1;
    return value - (((1 << size) - 1) & negative);
}

static size_t stuffed_zeros(const uint8_t *from, const uint8_t *to) {
    size_t count = 0;
    for (; from < to; from++) count += *from == 0xff;
    return count;
}

/* Entries CLOSEST MCUs apart, of data that were one sound segment. */
static void note_entries(const struct jpeg *jpeg, const struct grammar *grammar, const uint8_t *bytes,
                         const uint32_t *starts, struct entry *entries) {
    int32_t dc[3] = {0};
    size_t byte = 0, zeros = 0;
    for (int row = 0; row < jpeg->down; row++)
        for (int column = 0; column < jpeg->across; column++) {
            if (column % CLOSEST == 0) {
                zeros += stuffed_zeros(bytes + byte, bytes + *starts / 8);
                byte = *starts / 8;
                *entries++ = (struct entry){*starts + 8 * zeros, {dc[0], dc[1], dc[2]}};
            }
            for (int block = 0; block < grammar->blocks; block++)
                dc[grammar->places[2 * block].component] += dc_change(&grammar->places[2 * block], window_at(bytes, *starts++));
        }
}

static int make_grammar(struct grammar *grammar, const struct jpeg *jpeg) {
    grammar->blocks = 0;
    for (int i = 0; i < jpeg->component_count; i++) {
        const struct component *one = &jpeg->components[i];
        const struct skip_table *dc = skip_table(jpeg, DC, one->dc), *ac = skip_table(jpeg, AC, one->ac);
        if (!dc || !ac) return 0;
        for (int n = 0; n < one->h * one->v; n++) {
            struct place *place = &grammar->places[2 * grammar->blocks++];
            const uint32_t after = 2 * grammar->blocks * REST;
            place[0] = (struct place){dc->many, dc->first_long, after, dc, i};
            place[1] = (struct place){ac->many, ac->first_long, after, ac, i};
        }
    }
    grammar->places[2 * grammar->blocks - 1].after = 0; /* the next MCU */
    return 1;
}

int walk_jpeg(const struct jpeg *jpeg, struct walk_rooms *rooms, struct entry *entries) {
    struct grammar grammar;
    if (jpeg->length > UINT32_MAX / 8 - SPARE) return UNKNOWN; /* so that 32 bits hold every place */
    if (!make_grammar(&grammar, jpeg)) return UNKNOWN;
    const size_t blocks = (size_t)jpeg->across * jpeg->down * grammar.blocks;
    uint8_t *bytes = room_for(&rooms->bytes, jpeg->length + SPARE);
    uint32_t *starts = room_for(&rooms->starts, LANES * (blocks + STEPS + 2) * sizeof *starts);
    if (!bytes || !starts) return UNKNOWN;
    memset(bytes + jpeg->length, 0, SPARE);
    const int verdict = walk_scan(jpeg, &grammar, bytes, starts);
    if (verdict == SOUND && entries) note_entries(jpeg, &grammar, bytes, starts, entries);
    return verdict;
}

/* Whether the `length` bytes at `data` are a sound JPEG of this size: SOUND, or UNKNOWN. If it is, and `size` is not NULL,
   its entry points go into `segment`; their `size` is 0 bytes where it is to have none. */
static int examine(const uint8_t *data, size_t length, int width, int height, uint8_t *segment, int *size) {
    struct jpeg jpeg;
    struct walk_rooms rooms = {0};
    if (!read_headers(&jpeg, data, length) || jpeg.width != width || jpeg.height != height) return UNKNOWN;
    const size_t count = (size_t)jpeg.down * entries_a_row(&jpeg, CLOSEST);
    const int noted = size && !jpeg.restart_interval && jpeg.across * jpeg.down >= LEAST_MCUS;
    struct entry *entries = noted ? malloc(count * sizeof *entries) : NULL;
    const int verdict = walk_jpeg(&jpeg, &rooms, entries);
    if (verdict == SOUND && entries) *size = write_entries(&jpeg, entries, segment);
    free(entries), free(rooms.bytes.bytes), free(rooms.starts.bytes);
    return verdict;
}

int fastpt_is_sound(const uint8_t *data, size_t length, int width, int height) {
    return examine(data, length, width, height, NULL, NULL);
}

/* Copy the JPEG into `out`, which has room for LARGEST_SEGMENT more bytes, with its entry points if it is sound and is to
   have some, and without any that it came with. Returns the number of bytes; `sound` and `noted` say whether it is sound,
   and whether it has entry points now. */
size_t fastpt_note_entries(const uint8_t *data, size_t length, int width, int height, uint8_t *out, int *sound, int *noted) {
    uint8_t segment[LARGEST_SEGMENT];
    int size = 0;
    *sound = examine(data, length, width, height, segment, &size) == SOUND;
    *noted = size > 0;
    return replace_entries(data, length, segment, size, out);
}

/* Walks through all entropy-coded data of a JPEG without decoding it: is it whole, to the last bit?

   Called through ctypes (entropy.py). The answer is "sound" only where the headers are those of markers.h and libjpeg
   would find nothing to warn of: every code is in its table, every block ends within its 64 coefficients, restart
   markers come where they must, and the end marker follows the last bit. Anything else is "unknown", for libjpeg to
   judge. Nothing here trusts a byte. */

#include <stdlib.h>
#include <string.h>

#include "huffman.h"
#include "markers.h"

enum { UNKNOWN, SOUND };

#define SPARE 512 /* bytes: more than one block can run past the end of its data */

/* What the blocks of a component are made of. */
struct plane {
    int blocks; /* in each MCU */
    const struct skip_table *dc, *ac;
};

/* Entropy-coded data up to a marker, without the zeros that are stuffed in after each 0xff. */
struct segment {
    const uint8_t *bytes; /* and at least SPARE more, of any value */
    size_t bits;          /* how many it has, */
    size_t at;            /* and how many of them have been read */
};

/* The next 57 bits or more, the first of them highest. */
static inline uint64_t window_at(const struct segment *segment, size_t at) {
    uint64_t word;
    memcpy(&word, segment->bytes + at / 8, 8);
    return __builtin_bswap64(word) << at % 8;
}

static int skip_block(struct segment *segment, const struct plane *plane) {
    uint64_t window = window_at(segment, segment->at);
    struct skip skip = first_symbol(plane->dc, window);
    if (!skip.bits) return 0;
    size_t at = segment->at + skip.bits;
    window <<= skip.bits;
    /* A window of 57 bits is good for the DC symbol, of up to 27, and one look; or for three, of up to LOOK + 10. */
    for (int k = 1, left = 1; k < 64; k += skip.advance, at += skip.bits, window <<= skip.bits) {
        if (!left--) window = window_at(segment, at), left = 2;
        skip = plane->ac->many[window >> (64 - LOOK)];
        if (k + skip.advance < 64) continue;
        if (!skip.ends || k + skip.advance - STOP >= 64) {
            /* A long code, or near the end of the block, where the symbols after its last are not its own. */
            left = 0;
            skip = first_symbol(plane->ac, window_at(segment, at));
            if (!skip.bits || (!skip.ends && k + skip.advance > 64)) return 0;
        }
    }
    segment->at = at;
    return at <= segment->bits;
}

/* Copy the data from `from` to the next marker into `room`; returns the place of the marker, or of the end. */
static const uint8_t *unstuff(const uint8_t *from, const uint8_t *end, uint8_t *room, struct segment *segment) {
    uint8_t *to = room;
    while (from < end) {
        const uint8_t *stop = memchr(from, 0xff, end - from);
        const size_t count = (stop ? stop : end) - from;
        memcpy(to, from, count);
        to += count, from += count;
        if (!stop || end - from < 2 || from[1]) break;
        *to++ = 0xff, from += 2;
    }
    *segment = (struct segment){room, 8 * (to - room), 0};
    return from;
}

/* Whether the segment has been read up to its last byte, and this marker comes next. */
static int ends_at(const struct segment *segment, const uint8_t *at, const uint8_t *end, int marker) {
    return segment->bits - segment->at < 8 && end - at >= 2 && at[0] == 0xff && at[1] == marker;
}

static int walk(const struct jpeg *jpeg, const struct plane *planes, uint8_t *room) {
    const uint8_t *end = jpeg->data + jpeg->length;
    struct segment segment;
    const uint8_t *marker = unstuff(jpeg->data + jpeg->scan, end, room, &segment);
    for (int mcu = 0, restarts = 0; mcu < jpeg->across * jpeg->down; mcu++) {
        if (jpeg->restart_interval && mcu && mcu % jpeg->restart_interval == 0) {
            if (!ends_at(&segment, marker, end, 0xd0 + restarts++ % 8)) return UNKNOWN;
            marker = unstuff(marker + 2, end, room, &segment);
        }
        for (int i = 0; i < jpeg->component_count; i++)
            for (int block = 0; block < planes[i].blocks; block++)
                if (!skip_block(&segment, &planes[i])) return UNKNOWN;
    }
    return ends_at(&segment, marker, end, 0xd9) ? SOUND : UNKNOWN;
}

/* Whether the `length` bytes at `data` are a sound JPEG of this size: SOUND, or UNKNOWN. */
int fastpt_is_sound(const uint8_t *data, size_t length, int width, int height) {
    static _Thread_local struct { uint8_t *bytes; size_t size; } room; /* kept, and as large as the largest JPEG */
    struct jpeg jpeg;
    if (!read_headers(&jpeg, data, length) || jpeg.width != width || jpeg.height != height) return UNKNOWN;
    struct plane planes[3];
    for (int i = 0; i < jpeg.component_count; i++) {
        const struct component *one = &jpeg.components[i];
        planes[i] = (struct plane){one->h * one->v, skip_table(&jpeg, DC, one->dc), skip_table(&jpeg, AC, one->ac)};
        if (!planes[i].dc || !planes[i].ac) return UNKNOWN;
    }
    if (room.size < length + SPARE) {
        free(room.bytes);
        room.bytes = calloc(1, room.size = length + SPARE);
        if (!room.bytes) return room.size = 0, UNKNOWN;
    }
    return walk(&jpeg, planes, room.bytes);
}

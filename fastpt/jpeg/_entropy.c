/* Walks through all entropy-coded data of a baseline JPEG without decoding it: is it whole, to the last bit?

   Built as a plain shared library and called through ctypes (entropy.py). The answer is "sound" only for the commonest
   kind of JPEG (Huffman, sequential, 8 bits, one scan; grey or YCbCr) in which libjpeg would find nothing to warn of:
   every code is in its table, every block ends within its 64 coefficients, restart markers come where they must, and
   the end marker follows the last bit. Anything else is "unknown", for libjpeg to judge. Nothing here trusts a byte.

   What makes it fast: only lengths matter, so one look at LOOK bits skips all the symbols that begin in them. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { UNKNOWN, SOUND };

#define LOOK 12
#define STOP 128
#define SPARE 512 /* bytes: more than one block can run past the end of its data */
#define MOST_BLOCKS (1 << 20) /* so that the sum of 11-bit differences cannot overflow libjpeg's int */

/* What `LOOK` bits begin with. */
struct skip {
    uint8_t bits;    /* to go forward; 0: the first code is longer than LOOK bits, or there is none */
    uint8_t code;    /* of these, the length of the first code */
    uint8_t advance; /* coefficients passed; more than there are (STOP) where `bits` is 0 or the block ends */
    uint8_t ends;    /* whether it ends with an end of block */
};

struct table {
    int defined, dc;
    uint8_t counts[16], symbols[256]; /* as in the file: codes of each length, and what they mean */
    struct skip one[1 << LOOK];       /* the first symbol */
    struct skip many[1 << LOOK];      /* as many symbols as begin in these bits, for AC */
    int32_t first_code[17];           /* of each length; and where its symbols begin */
    int first_symbol[17];
};

struct component {
    int id, blocks, quantisation; /* blocks in each MCU */
    const struct table *dc, *ac;
};

/* Entropy-coded data up to a marker, without the zeros that are stuffed in after each 0xff. */
struct segment {
    const uint8_t *bytes; /* and at least SPARE more, of any value */
    size_t bits;          /* how many it has, */
    size_t at;            /* and how many of them have been read */
};

struct jpeg {
    const uint8_t *data;
    size_t length, at;
    int width, height, mcus, restart_interval, component_count;
    int quantisation_tables, huffman_tables; /* those that it has, one bit each */
    struct component components[3];
};

/* Made once and kept: most pictures have the same. */
static _Thread_local struct table tables[2][4];

static int sixteen(const uint8_t *bytes) { return bytes[0] << 8 | bytes[1]; }

/* One symbol: its code, then bits of a value, of which only the number matters. */
static struct skip skip_of(const struct table *table, int symbol, int length) {
    const int run = symbol >> 4, size = symbol & 15;
    if (table->dc) return (struct skip){length + symbol, length, 1, 0};
    if (size) return (struct skip){length + size, length, run + 1, 0};
    return run == 15 ? (struct skip){length, length, 16, 0} : (struct skip){length, length, STOP, 1};
}

static int make_table(struct table *table, int dc, const uint8_t *counts, const uint8_t *symbols, int total) {
    if (table->defined && !memcmp(table->counts, counts, 16) && !memcmp(table->symbols, symbols, total)) return 1;
    table->defined = 0, table->dc = dc;
    memcpy(table->counts, counts, 16);
    memcpy(table->symbols, symbols, total);
    for (int bits = 0; bits < 1 << LOOK; bits++) table->one[bits] = (struct skip){0, 0, STOP, 0};
    int code = 0, k = 0;
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->first_code[length] = code, table->first_symbol[length] = k;
        for (int i = 0; i < counts[length - 1]; i++, code++, k++) {
            const int size = dc ? symbols[k] : symbols[k] & 15;
            if (size > (dc ? 11 : 10)) return 0; /* more than 8-bit pictures can have */
            if (code >= (1 << length) - 1) return 0; /* no code is all ones */
            if (length > LOOK) continue;
            const struct skip skip = skip_of(table, symbols[k], length);
            for (int low = 0; low < 1 << (LOOK - length); low++) table->one[code << (LOOK - length) | low] = skip;
        }
    }
    for (int bits = 0; bits < 1 << LOOK && !dc; bits++) {
        struct skip all = table->one[bits];
        while (all.bits && all.advance < 64 && all.bits < LOOK) {
            const struct skip next = table->one[bits << all.bits & ((1 << LOOK) - 1)];
            if (!next.bits || next.code > LOOK - all.bits) break;
            all.bits += next.bits, all.advance += next.advance, all.ends = next.ends;
        }
        table->many[bits] = all;
    }
    return table->defined = 1;
}

static struct skip long_code(const struct table *table, uint64_t window) {
    for (int length = LOOK + 1; length <= 16; length++) {
        const int32_t place = (int32_t)(window >> (64 - length)) - table->first_code[length];
        if (place >= 0 && place < table->counts[length - 1])
            return skip_of(table, table->symbols[table->first_symbol[length] + place], length);
    }
    return (struct skip){0};
}

/* The next 57 bits or more, the first of them highest. */
static inline uint64_t window_at(const struct segment *segment, size_t at) {
    uint64_t word;
    memcpy(&word, segment->bytes + at / 8, 8);
    return __builtin_bswap64(word) << at % 8;
}

static struct skip first_symbol(const struct table *table, uint64_t window) {
    const struct skip skip = table->one[window >> (64 - LOOK)];
    return skip.bits ? skip : long_code(table, window);
}

static int skip_block(struct segment *segment, const struct component *component) {
    uint64_t window = window_at(segment, segment->at);
    struct skip skip = first_symbol(component->dc, window);
    if (!skip.bits) return 0;
    size_t at = segment->at + skip.bits;
    window <<= skip.bits;
    /* A window of 57 bits is good for the DC symbol, of up to 27, and one look; or for three, of up to LOOK + 10. */
    for (int k = 1, left = 1; k < 64; k += skip.advance, at += skip.bits, window <<= skip.bits) {
        if (!left--) window = window_at(segment, at), left = 2;
        skip = component->ac->many[window >> (64 - LOOK)];
        if (k + skip.advance < 64) continue;
        if (!skip.ends || k + skip.advance - STOP >= 64) {
            /* A long code, or near the end of the block, where the symbols after its last are not its own. */
            left = 0;
            skip = first_symbol(component->ac, window_at(segment, at));
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

static int scan(const struct jpeg *jpeg, uint8_t *room) {
    const uint8_t *end = jpeg->data + jpeg->length;
    struct segment segment;
    const uint8_t *marker = unstuff(jpeg->data + jpeg->at, end, room, &segment);
    for (int mcu = 0, restarts = 0; mcu < jpeg->mcus; mcu++) {
        if (jpeg->restart_interval && mcu && mcu % jpeg->restart_interval == 0) {
            if (!ends_at(&segment, marker, end, 0xd0 + restarts++ % 8)) return UNKNOWN;
            marker = unstuff(marker + 2, end, room, &segment);
        }
        for (int i = 0; i < jpeg->component_count; i++)
            for (int block = 0; block < jpeg->components[i].blocks; block++)
                if (!skip_block(&segment, &jpeg->components[i])) return UNKNOWN;
    }
    return ends_at(&segment, marker, end, 0xd9) ? SOUND : UNKNOWN;
}

/* The segments before the scan; each returns whether it is an ordinary one. `body` has `length` bytes. */

static int read_huffman(struct jpeg *jpeg, const uint8_t *body, int length) {
    while (length) {
        int total = 0;
        if (length < 17 || body[0] & ~0x13) return 0; /* class 0 or 1, number 0 to 3 */
        for (int i = 1; i <= 16; i++) total += body[i];
        if (total > 256 || length < 17 + total) return 0;
        const int ac = body[0] >> 4, number = body[0] & 3;
        if (!make_table(&tables[ac][number], !ac, body + 1, body + 17, total)) return 0;
        jpeg->huffman_tables |= 1 << (4 * ac + number);
        body += 17 + total, length -= 17 + total;
    }
    return 1;
}

static int read_quantisation(struct jpeg *jpeg, const uint8_t *body, int length) {
    while (length) {
        if (body[0] & ~0x13) return 0; /* 8 or 16 bits, number 0 to 3 */
        const int size = 1 + (body[0] >> 4 ? 128 : 64);
        if (length < size) return 0;
        jpeg->quantisation_tables |= 1 << (body[0] & 3);
        body += size, length -= size;
    }
    return 1;
}

static int read_frame(struct jpeg *jpeg, const uint8_t *body, int length) {
    if (jpeg->component_count || length < 6 || body[0] != 8) return 0;
    const int count = body[5], height = sixteen(body + 1), width = sixteen(body + 3);
    if ((count != 1 && count != 3) || length != 6 + 3 * count || height != jpeg->height || width != jpeg->width) return 0;
    int h = 1, v = 1;
    for (int i = 0; i < count; i++) {
        const uint8_t *one = body + 6 + 3 * i;
        const int across = one[1] >> 4, down = one[1] & 15;
        if (count == 3 && one[0] != i + 1) return 0; /* so it is YCbCr by its numbers too */
        if (i == 0 && count == 3) h = across, v = down;
        if (i == 0 ? (h != 1 && h != 2 && h != 4) || (v != 1 && v != 2) || across > 4 || !across || down > 4 || !down
                   : one[1] != 0x11) return 0;
        if (one[2] > 3) return 0;
        jpeg->components[i] = (struct component){one[0], i ? 1 : h * v, one[2], 0, 0};
    }
    const int64_t across = (jpeg->width + 8 * h - 1) / (8 * h), down = (jpeg->height + 8 * v - 1) / (8 * v);
    if (across * down * (h * v) > MOST_BLOCKS) return 0;
    jpeg->mcus = across * down;
    jpeg->component_count = count;
    return 1;
}

static int read_scan(struct jpeg *jpeg, const uint8_t *body, int length) {
    const int count = jpeg->component_count;
    if (!count || length != 4 + 2 * count || body[0] != count) return 0;
    for (int i = 0; i < count; i++) {
        struct component *component = &jpeg->components[i];
        const int dc = body[2 + 2 * i] >> 4, ac = body[2 + 2 * i] & 15;
        if (body[1 + 2 * i] != component->id || dc > 3 || ac > 3) return 0;
        if (!(jpeg->quantisation_tables >> component->quantisation & 1)) return 0;
        if (!(jpeg->huffman_tables >> dc & jpeg->huffman_tables >> (4 + ac) & 1)) return 0;
        component->dc = &tables[0][dc], component->ac = &tables[1][ac];
    }
    const uint8_t *rest = body + 1 + 2 * count; /* all 64 coefficients, at full precision */
    return rest[0] == 0 && rest[1] == 63 && rest[2] == 0;
}

static int read_segment(struct jpeg *jpeg, int marker, const uint8_t *body, int length) {
    switch (marker) {
    case 0xc0: case 0xc1: return read_frame(jpeg, body, length);
    case 0xc4: return read_huffman(jpeg, body, length);
    case 0xdb: return read_quantisation(jpeg, body, length);
    case 0xda: return read_scan(jpeg, body, length);
    case 0xdd:
        if (length == 2) jpeg->restart_interval = sixteen(body);
        return length == 2;
    case 0xe0: return length < 6 || memcmp(body, "JFIF", 5) || body[5] == 1; /* libjpeg warns of other versions */
    case 0xee: return length < 12 || memcmp(body, "Adobe", 5) || body[11] == 1; /* says that it is YCbCr */
    default: return (marker > 0xe0 && marker < 0xf0) || marker == 0xfe; /* applications' data, comments */
    }
}

/* Whether the `length` bytes at `data` are a sound JPEG of this size: SOUND, or UNKNOWN. */
int fastpt_is_sound(const uint8_t *data, size_t length, int width, int height) {
    static _Thread_local struct { uint8_t *bytes; size_t size; } room; /* kept, and as large as the largest JPEG */
    if (room.size < length + SPARE) {
        free(room.bytes);
        room.bytes = calloc(1, room.size = length + SPARE);
        if (!room.bytes) return room.size = 0, UNKNOWN;
    }
    struct jpeg jpeg = {.data = data, .length = length, .at = 2, .width = width, .height = height};
    if (width < 1 || height < 1 || width > 65500 || height > 65500) return UNKNOWN;
    if (length < 4 || data[0] != 0xff || data[1] != 0xd8) return UNKNOWN;
    for (int marker = 0; marker != 0xda;) {
        if (length - jpeg.at < 4 || data[jpeg.at] != 0xff) return UNKNOWN;
        marker = data[jpeg.at + 1];
        const int size = sixteen(data + jpeg.at + 2);
        if (size < 2 || length - jpeg.at - 2 < (size_t)size) return UNKNOWN;
        if (!read_segment(&jpeg, marker, data + jpeg.at + 4, size - 2)) return UNKNOWN;
        jpeg.at += 2 + size;
    }
    return scan(&jpeg, room.bytes);
}

/* Height and width that the frame header of each JPEG states, int32 [count, 2]; 0 and 0 where there is none. */
void fastpt_frame_sizes(int count, const uint8_t **jpegs, const uint64_t *lengths, int *sizes) {
    for (int k = 0; k < count; k++) {
        const uint8_t *data = jpegs[k];
        const size_t length = lengths[k];
        sizes[2 * k] = sizes[2 * k + 1] = 0;
        if (length < 4 || data[0] != 0xff || data[1] != 0xd8) continue;
        for (size_t at = 2; length - at >= 4 && data[at] == 0xff;) {
            const int marker = data[at + 1], size = sixteen(data + at + 2);
            if (marker == 0xff) { /* filling */
                at++;
                continue;
            }
            if (size < 2 || length - at - 2 < (size_t)size) break;
            if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
                if (size >= 7) sizes[2 * k] = sixteen(data + at + 5), sizes[2 * k + 1] = sixteen(data + at + 7);
                break;
            }
            if (marker == 0xd8 || marker == 0xd9 || marker == 0xda) break; /* no frame before the scan */
            at += 2 + size;
        }
    }
}

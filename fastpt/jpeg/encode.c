/* Planes to a JPEG, as encode.h has it: headers, coefficients (dct.h), Huffman codes. */

#include "encode.h"

#include <stdlib.h>
#include <string.h>

#include "entries.h"
#include "levels.h"
#include "rows.h"
#include "standard.h"

#define LARGEST_HEAD 640   /* bytes: from SOI to the scan's header, without entry points */
#define LARGEST_BLOCK 416  /* bytes: 64 codes of 16 bits with 10 bits of value, each byte stuffed */

/* --- tables ------------------------------------------------------------------------------------------------------- */

static const uint8_t natural[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
                                    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
                                    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

/* Codes of symbols, by T.81, C.2: 256 times the code, and its length. */
struct codes {
    uint32_t of[256];
};

static void make_codes(struct codes *codes, const uint8_t *table) {
    const uint8_t *meaning = table + 16;
    for (int length = 1, code = 0; length <= 16; length++, code *= 2)
        for (int i = 0; i < table[length - 1]; i++, code++) codes->of[*meaning++] = code << 8 | length;
}

/* Bits of coefficients in rows, by four of them, as bits in zigzag order. */
static uint64_t zigzag_bits[16][16];

static __attribute__((constructor)) void make_zigzag_bits(void) {
    for (int k = 0; k < 64; k++)
        for (int four = 0; four < 16; four++)
            if (four >> natural[k] % 4 & 1) zigzag_bits[natural[k] / 4][four] |= (uint64_t)1 << k;
}

/* Steps in zigzag order: T.81's times a factor, as libjpeg's jpeg_set_quality has it. */
static void make_steps(uint8_t steps[64], const uint8_t *standard, int quality) {
    const int percent = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    for (int k = 0; k < 64; k++) {
        const int step = (standard[k] * percent + 50) / 100;
        steps[k] = step < 1 ? 1 : step > 255 ? 255 : step;
    }
}

static void make_divisors(struct divisors *divisors, const uint8_t steps[64]) {
    for (int k = 0; k < 64; k++) {
        const int d = 8 * steps[k], s = 30 - __builtin_clz(d - 1), at = 16 * (natural[k] / 8) + natural[k] % 8;
        divisors->half[at] = divisors->half[at + 8] = d / 2;
        divisors->factor[at] = divisors->factor[at + 8] = ((1 << (16 + s)) + d - 1) / d;
        divisors->shift[at] = divisors->shift[at + 8] = 1 << (15 - s);
    }
}

/* --- bits --------------------------------------------------------------------------------------------------------- */

struct writer {
    uint64_t bits; /* the lowest `count` of them are still to be written: less than 32 between two calls */
    int count;
    uint8_t *to;
};

static inline void put_byte(struct writer *writer) {
    const uint8_t byte = writer->bits >> (writer->count -= 8);
    *writer->to++ = byte;
    if (byte == 0xff) *writer->to++ = 0;
}

static inline void put_bits(struct writer *writer, uint32_t bits, int count) {
    writer->bits = writer->bits << count | bits, writer->count += count;
    if (writer->count < 32) return;
    uint32_t four = writer->bits >> (writer->count - 32);
    if (four & 0x80808080 & ~(four + 0x01010101)) { /* there may be an 0xff */
        for (int i = 0; i < 4; i++) put_byte(writer);
        return;
    }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    four = __builtin_bswap32(four);
#endif
    memcpy(writer->to, &four, 4);
    writer->to += 4, writer->count -= 32;
}

/* A symbol and a value of `size` bits: T.81, F.1.2.1. */
static inline void put_symbol(struct writer *writer, uint32_t code, int value, int size) {
    const uint32_t bits = (uint32_t)(value + (value >> 31)) & ((1u << size) - 1);
    put_bits(writer, code >> 8 << size | bits, (code & 0xff) + size);
}

static inline int size_of(int value) { return value ? 32 - __builtin_clz(abs(value)) : 0; }

/* A block's coefficients, in rows, but for its DC coefficient, of which there is the change. */
static inline void put_block(struct writer *to, const int16_t *coefficients, uint64_t nonzero, int change,
                             const struct codes *dc, const struct codes *ac) {
    struct writer writer = *to;
    uint64_t left = 0;
    for (int i = 0; i < 16; i++) left |= zigzag_bits[i][nonzero >> 4 * i & 15];
    left &= ~(uint64_t)1;
    put_symbol(&writer, dc->of[size_of(change)], change, size_of(change));
    int before = 0;
    for (; left; left &= left - 1) {
        const int k = __builtin_ctzll(left), value = coefficients[natural[k]], size = size_of(value);
        int zeros = k - before - 1;
        for (; zeros > 15; zeros -= 16) put_symbol(&writer, ac->of[0xf0], 0, 0);
        put_symbol(&writer, ac->of[zeros << 4 | size], value, size);
        before = k;
    }
    if (before < 63) put_symbol(&writer, ac->of[0], 0, 0);
    *to = writer;
}

/* --- one row of MCUs ---------------------------------------------------------------------------------------------- */

struct plane {
    const uint8_t *samples;
    ptrdiff_t stride;
    int width, height, factor; /* samples; blocks across and down in each MCU */
    int across, down;          /* blocks that have samples */
    int number;                /* of its tables */
    int16_t (*coefficients)[64];
    uint64_t *nonzero;
    int16_t predictor;
};

struct encoder {
    struct jpeg jpeg; /* its size in MCUs and its number of planes, for entries */
    struct plane planes[3];
    int blocks; /* of an MCU */
    uint8_t steps[2][64];
    struct divisors divisors[2];
    struct codes dc[2], ac[2];
    struct writer writer;
    uint8_t *scan, *lines;
    void *memory;
    struct entry *entries;
};

static int even(int number) { return (number + 1) / 2 * 2; }

/* Eight rows of samples from row `y` on; past the plane's edges they are like its last ones. */
static void copy_lines(const struct plane *plane, int y, uint8_t *lines) {
    const int width = 8 * even(plane->across);
    for (int i = 0; i < 8; i++, lines += width) {
        const uint8_t *from = plane->samples + (y + i < plane->height ? y + i : plane->height - 1) * plane->stride;
        memcpy(lines, from, plane->width);
        memset(lines + plane->width, from[plane->width - 1], width - plane->width);
    }
}

static void forward_row(struct encoder *encoder, struct plane *plane, int row) {
    const int pairs = even(plane->across) / 2;
    int16_t(*coefficients)[64] = plane->coefficients;
    uint64_t *nonzero = plane->nonzero;
    for (int y = row * plane->factor; y < (row + 1) * plane->factor && y < plane->down; y++) {
        copy_lines(plane, 8 * y, encoder->lines);
        for (int pair = 0; pair < pairs; pair++, coefficients += 2, nonzero += 2)
            level_in_use()->forward(encoder->lines + 16 * pair, 16 * pairs, &encoder->divisors[plane->number], coefficients,
                                    nonzero);
    }
}

/* Blocks without samples have the DC coefficient of the one before, and nothing else. */
static void put_plane(struct encoder *encoder, struct plane *plane, int row, int column) {
    const struct codes *dc = &encoder->dc[plane->number], *ac = &encoder->ac[plane->number];
    for (int y = 0; y < plane->factor; y++)
        for (int x = column * plane->factor; x < (column + 1) * plane->factor; x++) {
            if (row * plane->factor + y >= plane->down || x >= plane->across) {
                put_block(&encoder->writer, NULL, 0, 0, dc, ac);
                continue;
            }
            const size_t block = (size_t)y * even(plane->across) + x;
            const int16_t *coefficients = plane->coefficients[block];
            put_block(&encoder->writer, coefficients, plane->nonzero[block], coefficients[0] - plane->predictor, dc, ac);
            plane->predictor = coefficients[0];
        }
}

static void note(struct encoder *encoder, struct entry *entry) {
    while (encoder->writer.count >= 8) put_byte(&encoder->writer);
    *entry = (struct entry){.place = 8 * (encoder->writer.to - encoder->scan) + encoder->writer.count};
    for (int c = 0; c < encoder->jpeg.component_count; c++) entry->dc[c] = encoder->planes[c].predictor;
}

static void encode_row(struct encoder *encoder, int row) {
    struct jpeg *jpeg = &encoder->jpeg;
    for (int c = 0; c < jpeg->component_count; c++) forward_row(encoder, &encoder->planes[c], row);
    for (int column = 0; column < jpeg->across; column++) {
        if (encoder->entries && column % CLOSEST == 0)
            note(encoder, &encoder->entries[(size_t)row * entries_a_row(jpeg, CLOSEST) + column / CLOSEST]);
        for (int c = 0; c < jpeg->component_count; c++) put_plane(encoder, &encoder->planes[c], row, column);
    }
}

/* --- headers ------------------------------------------------------------------------------------------------------ */

static uint8_t *put(uint8_t *to, const void *from, size_t size) { return memcpy(to, from, size), to + size; }

static uint8_t *put_marker(uint8_t *to, uint8_t marker, int size) {
    const uint8_t head[4] = {0xff, marker, (size + 2) >> 8, size + 2};
    return put(to, head, 4);
}

static uint8_t *put_huffman(uint8_t *to, int kind_and_number, const uint8_t *table, int size) {
    to = put_marker(to, 0xc4, 1 + size), *to++ = kind_and_number;
    return put(to, table, size);
}

/* All up to the scan, in libjpeg's order. */
static uint8_t *put_headers(const struct encoder *encoder, const uint8_t *segment, int segment_size, uint8_t *to) {
    const int count = encoder->jpeg.component_count, tables = count > 1 ? 2 : 1;
    const int width = encoder->jpeg.width, height = encoder->jpeg.height;
    to = put(to, (const uint8_t[]){0xff, 0xd8}, 2);
    to = put(put_marker(to, 0xe0, 14), "JFIF\0\1\1\0\0\1\0\1\0", 14);
    to = put(to, segment, segment_size);
    for (int i = 0; i < tables; i++) to = put_marker(to, 0xdb, 65), *to++ = i, to = put(to, encoder->steps[i], 64);
    to = put_marker(to, 0xc0, 6 + 3 * count);
    to = put(to, (const uint8_t[]){8, height >> 8, height, width >> 8, width, count}, 6);
    for (int c = 0; c < count; c++) {
        const int factor = encoder->planes[c].factor;
        to = put(to, (const uint8_t[]){c + 1, factor << 4 | factor, c > 0}, 3);
    }
    for (int i = 0; i < tables; i++) {
        to = put_huffman(to, i, standard_dc[i], sizeof standard_dc[i]);
        to = put_huffman(to, 0x10 | i, standard_ac[i], sizeof standard_ac[i]);
    }
    to = put_marker(to, 0xda, 4 + 2 * count), *to++ = count;
    for (int c = 0; c < count; c++) to = put(to, (const uint8_t[]){c + 1, c > 0 ? 0x11 : 0}, 2);
    return put(to, (const uint8_t[]){0, 63, 0}, 3);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* Bytes of the scan before its last row, at most: more than any picture takes whose blocks are not all of the worst kind. */
static size_t usual_room(const struct encoder *encoder) {
    return (size_t)4 * 64 * encoder->blocks * encoder->jpeg.across * encoder->jpeg.down;
}

static size_t scan_room(const struct encoder *encoder) {
    return usual_room(encoder) + (size_t)LARGEST_BLOCK * encoder->blocks * encoder->jpeg.across + 4;
}

static void arrange(struct encoder *encoder, const struct picture *picture) {
    struct jpeg *jpeg = &encoder->jpeg;
    const int step = picture->halved ? 2 : 1;
    encoder->blocks = 0;
    jpeg->width = picture->width, jpeg->height = picture->height, jpeg->component_count = picture->plane_count;
    jpeg->across = (picture->width + 8 * step - 1) / (8 * step), jpeg->down = (picture->height + 8 * step - 1) / (8 * step);
    for (int c = 0; c < picture->plane_count; c++) {
        struct plane *plane = &encoder->planes[c];
        const int by = c ? step : 1;
        *plane = (struct plane){picture->planes[c], picture->strides[c], .factor = c ? 1 : step, .number = c > 0};
        plane->width = (picture->width + by - 1) / by, plane->height = (picture->height + by - 1) / by;
        plane->across = (plane->width + 7) / 8, plane->down = (plane->height + 7) / 8;
        encoder->blocks += plane->factor * plane->factor;
    }
}

static int prepare(struct encoder *encoder, int quality, int noted) {
    const struct jpeg *jpeg = &encoder->jpeg;
    size_t blocks = 0;
    for (int c = 0; c < jpeg->component_count; c++) blocks += encoder->planes[c].factor * even(encoder->planes[c].across);
    for (int i = 0; i < 2; i++) {
        make_steps(encoder->steps[i], standard_steps[i], quality);
        make_divisors(&encoder->divisors[i], encoder->steps[i]);
        make_codes(&encoder->dc[i], standard_dc[i]), make_codes(&encoder->ac[i], standard_ac[i]);
    }
    const size_t lines = 64 * even(encoder->planes[0].across), entries = (size_t)jpeg->down * entries_a_row(jpeg, CLOSEST);
    uint8_t *next = encoder->memory = malloc(blocks * (64 * sizeof(int16_t) + 8) + lines);
    encoder->entries = noted ? malloc(entries * sizeof *encoder->entries) : NULL;
    if (!encoder->memory || (noted && !encoder->entries)) return 0;
    for (int c = 0; c < jpeg->component_count; c++) {
        struct plane *plane = &encoder->planes[c];
        const size_t count = plane->factor * even(plane->across);
        plane->coefficients = (int16_t(*)[64])next, plane->nonzero = (uint64_t *)(next + count * sizeof *plane->coefficients);
        next += count * (64 * sizeof(int16_t) + 8);
    }
    encoder->lines = next;
    return 1;
}

size_t fastpt_encoded_room(const struct picture *picture) {
    struct encoder encoder;
    arrange(&encoder, picture);
    return LARGEST_HEAD + LARGEST_SEGMENT + scan_room(&encoder);
}

/* The scan. Returns where it ends, or NULL. */
static uint8_t *encode_scan(struct encoder *encoder) {
    struct writer *writer = &encoder->writer;
    *writer = (struct writer){.to = encoder->scan};
    for (int row = 0; row < encoder->jpeg.down; row++) {
        if ((size_t)(writer->to - encoder->scan) > usual_room(encoder)) return NULL;
        encode_row(encoder, row);
    }
    put_bits(writer, 0x7f, 7); /* ones up to a whole byte */
    while (writer->count >= 8) put_byte(writer);
    return writer->to;
}

size_t fastpt_encode(const struct picture *picture, int quality, uint8_t *out, int *noted) {
    struct encoder encoder;
    uint8_t segment[LARGEST_SEGMENT], *end = NULL;
    int size = 0;
    arrange(&encoder, picture);
    const int may_be_noted = *noted && encoder.jpeg.across * encoder.jpeg.down >= LEAST_MCUS;
    encoder.scan = out + LARGEST_HEAD + LARGEST_SEGMENT;
    if (prepare(&encoder, quality, may_be_noted)) end = encode_scan(&encoder);
    if (end && encoder.entries) size = write_entries(&encoder.jpeg, encoder.entries, segment);
    free(encoder.memory), free(encoder.entries);
    *noted = size > 0;
    if (!end) return 0;
    uint8_t *to = put_headers(&encoder, segment, size, out);
    memmove(to, encoder.scan, end - encoder.scan);
    to += end - encoder.scan;
    return put(to, (const uint8_t[]){0xff, 0xd9}, 2) - out;
}

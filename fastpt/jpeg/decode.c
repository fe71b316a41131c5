/* A crop, from the headers to the pixels, as decode.h has it. The steps are those of levels.h and taps.h; here is what
   goes where.

   Luma rows are dealt with 16 at a time, a unit: one row of MCUs where colour is at half the height, else two. A group of
   three units is decoded before its samples are made, as rows are independent where there are entry points. */

#include "decode.h"

#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "entries.h"
#include "levels.h"
#include "markers.h"
#include "room.h"
#include "taps.h"
#include "walk.h"

#define UNITS 3 /* of a group */

struct decoder {
    struct symbol_table tables[2][4];
    struct room entries, bytes, blocks, strip, rings, taps, lines;
    struct walk_rooms walk;
};

/* The blocks of every MCU, in their order. */
struct mcu {
    int blocks;
    int component[MOST_MCU_BLOCKS];
    const symbol *dc[MOST_MCU_BLOCKS], *ac[MOST_MCU_BLOCKS];
};

/* The parts of a picture that a crop is made of: rows `top` to `bottom` of MCUs, columns `left` to `right`. */
struct crop {
    struct jpeg jpeg;
    struct mcu mcu;
    int top, left, bottom, right;
    int width;                     /* MCUs: right - left */
    int before;                    /* MCUs from the entry before the crop to it */
    int rows_a_unit;               /* of MCUs */
    int16_t quantisation[3][128];
    int spacing, entry_count;      /* of entry points, if there are any */
    struct entry *entries;
    /* What has been decoded of the rows of a group. */
    struct block *blocks[2 * UNITS]; /* from the MCU of the entry before the crop on */
    size_t row_size;               /* blocks in a row */
    struct taps across[2], down[2]; /* of luma, of colour */
    int size, padded;              /* of the output; up to a multiple of 16 */
    int16_t *strip;
    size_t ring_row;               /* numbers in a pair of rows */
    int ring_pairs;                /* of a ring: a power of two */
    int16_t *rings[3], *lines[3];
};

/* --- the level --------------------------------------------------------------------------------------------------- */

static const struct level *level = &plain_level;

int fastpt_decoder_level(int number) {
    switch (number) {
    case 0: level = &plain_level; return 1;
#ifdef __SSE2__
    case 1: level = &sse2_level; return 1;
#endif
#ifdef HAVE_AVX2
    case 2:
        if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2")) return 0;
        level = &avx2_level;
        return 1;
#endif
    default: return 0;
    }
}

const char *fastpt_decoder_name(void) { return level->name; }

/* When the library is loaded, before there is a thread that decodes. */
static __attribute__((constructor)) void choose_level(void) {
    for (int number = 2; !fastpt_decoder_level(number); number--) continue;
}

/* --- preparations ------------------------------------------------------------------------------------------------- */

static const uint8_t zigzag[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
                                   41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
                                   30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

static int prepare_tables(struct decoder *decoder, struct crop *crop) {
    const struct jpeg *jpeg = &crop->jpeg;
    struct mcu *mcu = &crop->mcu;
    mcu->blocks = 0;
    for (int c = 0; c < jpeg->component_count; c++) {
        const struct component *component = &jpeg->components[c];
        struct symbol_table *dc = &decoder->tables[DC][component->dc], *ac = &decoder->tables[AC][component->ac];
        if (!make_symbol_table(dc, DC, &jpeg->huffman[DC][component->dc])) return 0;
        if (!make_symbol_table(ac, AC, &jpeg->huffman[AC][component->ac])) return 0;
        for (int i = 0; i < component->h * component->v; i++, mcu->blocks++)
            mcu->component[mcu->blocks] = c, mcu->dc[mcu->blocks] = dc->look, mcu->ac[mcu->blocks] = ac->look;
        for (int k = 0; k < 64; k++) {
            int16_t *two = crop->quantisation[c] + 16 * (zigzag[k] / 8) + zigzag[k] % 8;
            two[0] = two[8] = (int16_t)jpeg->quantisation[component->quantisation][k];
        }
    }
    return 1;
}

static int prepare_taps(struct decoder *decoder, struct crop *crop, const int32_t box[4], int flip, int filter) {
    const int size = crop->size, shrinks = box[2] >= size && box[3] >= size;
    const int planes = crop->jpeg.component_count == 1 ? 1 : 2;
    const struct component *luma = &crop->jpeg.components[0];
    const struct axis axes[4] = {
        {box[0], box[2], 1, filter, shrinks},
        {box[1], box[3], 1, filter, shrinks},
        {box[0], box[2], luma->v, filter, shrinks},
        {box[1], box[3], luma->h, filter, shrinks},
    };
    struct taps *taps[4] = {&crop->down[0], &crop->across[0], &crop->down[1], &crop->across[1]};
    size_t outputs = 0, weights = 0;
    for (int i = 0; i < 2 * planes; i++) {
        taps[i]->pairs = most_pairs(&axes[i], size);
        if (taps[i]->pairs > MOST_TAPS / 2) return 0;
        outputs += crop->padded, weights += (size_t)crop->padded * 2 * taps[i]->pairs;
    }
    int32_t *places = room_for(&decoder->taps, 2 * outputs * sizeof *places + weights * sizeof(int16_t));
    if (!places) return 0;
    int16_t *next = (int16_t *)(places + 2 * outputs);
    for (int i = 0; i < 2 * planes; i++, places += 2 * crop->padded) {
        taps[i]->first = places, taps[i]->stop = places + crop->padded, taps[i]->weights = next;
        next += (size_t)crop->padded * 2 * taps[i]->pairs;
        /* Strips begin with the first block of the crop, rings with that of the picture. */
        const int origin = i == 1 ? 8 * crop->left * luma->h : i == 3 ? 8 * crop->left : 0;
        make_taps(taps[i], &axes[i], origin, size, crop->padded, flip && i % 2);
    }
    return 1;
}

static int prepare_memory(struct decoder *decoder, struct crop *crop) {
    const struct component *luma = &crop->jpeg.components[0];
    const int rows = UNITS * crop->rows_a_unit, mcus = crop->before + crop->width;
    crop->row_size = (size_t)mcus * crop->mcu.blocks;
    struct block *blocks = room_for(&decoder->blocks, rows * crop->row_size * sizeof *blocks);
    if (!blocks) return 0;
    for (int i = 0; i < rows; i++) {
        crop->blocks[i] = blocks;
        for (int j = 0; j < mcus; j++)
            for (int k = 0; k < crop->mcu.blocks; k++, blocks++)
                blocks->ac = crop->mcu.ac[k], blocks->next = crop->mcu.dc[k + 1 < crop->mcu.blocks ? k + 1 : 0];
    }
    const int beyond = crop->across[0].pairs > crop->across[1].pairs ? crop->across[0].pairs : crop->across[1].pairs;
    crop->strip = room_for(&decoder->strip, ((size_t)luma->h * 4 * (crop->width + 1) + beyond) * 32 * sizeof(int16_t));
    crop->ring_row = 2 * (size_t)crop->padded;
    const int needed = 8 * UNITS + 8 + crop->down[0].pairs + crop->down[1].pairs;
    for (crop->ring_pairs = 1; crop->ring_pairs < needed;) crop->ring_pairs *= 2;
    const size_t ring = crop->ring_pairs * crop->ring_row;
    int16_t *rings = room_for(&decoder->rings, 3 * ring * sizeof *rings);
    int16_t *lines = room_for(&decoder->lines, 3 * (size_t)crop->padded * sizeof *lines);
    if (!crop->strip || !rings || !lines) return 0;
    for (int c = 0; c < 3; c++) crop->rings[c] = rings + c * ring, crop->lines[c] = lines + c * crop->padded;
    return 1;
}

/* --- entropy-coded data ------------------------------------------------------------------------------------------- */

/* Where a row's decoding begins, where it may be checked, and where its data end. */
struct span {
    const struct entry *begin, *check; /* check: NULL if no entry is passed */
    int until;                         /* MCUs: from the first entry to the other one */
    size_t end;                        /* bytes from the scan's beginning */
};

static struct span span_of(const struct crop *crop, int row) {
    const struct jpeg *jpeg = &crop->jpeg;
    const int a_row = entries_a_row(jpeg, crop->spacing), to_edge = crop->right == jpeg->across;
    const int left = crop->left / crop->spacing, right = to_edge ? a_row : crop->right / crop->spacing;
    const int first = row * a_row + left, check = row * a_row + right, next = check + !to_edge;
    struct span span = {.begin = crop->entries + first, .end = jpeg->length - jpeg->scan};
    if (check > first && check < crop->entry_count) {
        span.check = crop->entries + check;
        span.until = (to_edge ? jpeg->across : right * crop->spacing) - left * crop->spacing;
    }
    if (next < crop->entry_count) { /* with the byte that the two share, and with the zero that may follow it */
        const size_t end = crop->entries[next].place / 8 + (size_t)2;
        if (end < span.end) span.end = end;
    }
    return span;
}

/* Make predictors' changes predictors, and counts of coefficients what they are; to find out whether each block was one.
   `check` has the predictors that there must be before MCU `until`, or is NULL. */
static int finish_row(const struct crop *crop, struct block *block, const struct span *span) {
    uint32_t dc[3];
    for (int c = 0; c < 3; c++) dc[c] = span->begin->dc[c];
    for (int mcu = 0; mcu < crop->before + crop->width; mcu++) {
        if (span->check && mcu == span->until && memcmp(dc, span->check->dc, sizeof dc)) return 0;
        for (int i = 0; i < crop->mcu.blocks; i++, block++) {
            const int passed = block->passed, c = crop->mcu.component[i];
            block->passed = passed & (BLOCK_ENDS - 1);
            if (passed >= NO_CODE || block->passed > 64) return 0;
            dc[c] += (uint32_t)(int32_t)block->coefficients[0];
            block->coefficients[0] = (int16_t)dc[c];
        }
    }
    return !span->check || span->until < crop->before + crop->width || !memcmp(dc, span->check->dc, sizeof dc);
}

/* Decode the rows of a group, each from the entry to its left. Returns a status. */
static int decode_rows(struct decoder *decoder, struct crop *crop, int row, int count) {
    const uint8_t *scan = crop->jpeg.data + crop->jpeg.scan;
    struct span spans[2 * UNITS];
    struct stretch stretches[2 * UNITS];
    size_t size = SPARE;
    for (int i = 0; i < count; i++) {
        spans[i] = span_of(crop, row + i);
        if (spans[i].begin->place / 8 > spans[i].end) return DAMAGED;
        size += spans[i].end - spans[i].begin->place / 8;
    }
    uint8_t *bytes = room_for(&decoder->bytes, size), *to = bytes;
    if (!bytes) return UNUSUAL;
    size_t check_at[2 * UNITS];
    for (int i = 0; i < count; i++) {
        const struct span *span = &spans[i];
        struct stretch *stretch = &stretches[i];
        const uint8_t *from = scan + span->begin->place / 8;
        *stretch = (struct stretch){.at = 8 * (to - bytes) + span->begin->place % 8, .block = crop->blocks[i]};
        stretch->table = crop->mcu.dc[0];
        if (span->check) {
            if (span->check->place / 8 > span->end) return DAMAGED;
            to = unstuff(&from, scan + span->check->place / 8, to);
            check_at[i] = 8 * (to - bytes) + span->check->place % 8;
        }
        to = unstuff(&from, scan + span->end, to);
        stretch->end = 8 * (to - bytes);
        stretch->stop = crop->blocks[i] + (span->check ? span->until : crop->before + crop->width) * crop->mcu.blocks;
        stretch->near_stop = stretch->stop - NEAR_STOP;
    }
    struct stretch *work[IN_TURN];
    int busy = 0, next = 0;
    for (;;) {
        for (; busy < IN_TURN && next < count; next++) work[busy++] = &stretches[next];
        if (!busy) break;
        const int k = level->decode(work, busy, bytes), i = work[k] - stretches;
        struct stretch *stretch = work[k];
        if (stretch->at > stretch->end) return DAMAGED;
        const struct block *stop = crop->blocks[i] + crop->row_size;
        if (spans[i].check && stretch->block == crop->blocks[i] + (ptrdiff_t)spans[i].until * crop->mcu.blocks && stretch->at != check_at[i]) return DAMAGED;
        if (stretch->block == stop) work[k] = work[--busy];
        else stretch->stop = stop, stretch->near_stop = stop - NEAR_STOP;
    }
    for (int i = 0; i < count; i++)
        if (!finish_row(crop, crop->blocks[i], &spans[i])) return DAMAGED;
    return DECODED;
}

/* --- samples ------------------------------------------------------------------------------------------------------ */

/* Where the samples of a component's rows of this half of a strip go: the pairs of rows from MCU row `row` on. */
static void ring_rows(const struct crop *crop, int component, int first_pair, int16_t **rows) {
    for (int i = 0; i < 4; i++)
        rows[i] = crop->rings[component] + ((first_pair + i) & (crop->ring_pairs - 1)) * crop->ring_row;
}

/* The block at (x, y) of the component in each MCU, of a decoded row, into the half of a strip. */
static void inverse(const struct crop *crop, int slot, int component, int block, int x, int half) {
    const int step = 128 * crop->jpeg.components[component].h;
    const struct block *blocks = crop->blocks[slot] + (ptrdiff_t)crop->before * crop->mcu.blocks + block;
    level->inverse(blocks, crop->width, crop->mcu.blocks, crop->quantisation[component], crop->strip + 128 * x + 8 * half, step);
}

/* A unit of decoded rows, from `slot` on, into the rings. */
static void samples(const struct crop *crop, int row, int slot, int count) {
    const struct component *luma = &crop->jpeg.components[0];
    const int h = luma->h, v = luma->v, colour = h * v; /* the block of Cb; that of Cr follows */
    int16_t *rows[8];
    for (int half = 0; half < 2; half++)
        for (int x = 0; x < h; x++)
            if (v == 2) inverse(crop, slot, 0, half * h + x, x, half);
            else if (half < count) inverse(crop, slot + half, 0, x, x, half);
    ring_rows(crop, 0, 4 * v * row, rows), ring_rows(crop, 0, 4 * v * row + 4, rows + 4);
    level->across(crop->strip, &crop->across[0], crop->padded, rows);
    if (crop->jpeg.component_count == 1) return;
    if (v == 2) { /* Cb and Cr have a half each */
        inverse(crop, slot, 1, colour, 0, 0), inverse(crop, slot, 2, colour + 1, 0, 1);
        ring_rows(crop, 1, 4 * row, rows), ring_rows(crop, 2, 4 * row, rows + 4);
        level->across(crop->strip, &crop->across[1], crop->padded, rows);
        return;
    }
    for (int c = 1; c < 3; c++) {
        for (int half = 0; half < count; half++) inverse(crop, slot + half, c, colour + c - 1, 0, half);
        ring_rows(crop, c, 4 * row, rows), ring_rows(crop, c, 4 * row + 4, rows + 4);
        level->across(crop->strip, &crop->across[1], crop->padded, rows);
    }
}

/* One row of the output, of what the rings hold. */
static void output_row(const struct crop *crop, int i, uint8_t *out) {
    const int16_t *rows[MOST_TAPS / 2];
    for (int c = 0; c < crop->jpeg.component_count; c++) {
        const struct taps *taps = &crop->down[c > 0];
        for (int j = 0; j < taps->pairs; j++)
            rows[j] = crop->rings[c] + ((taps->first[i] + j) & (crop->ring_pairs - 1)) * crop->ring_row;
        level->down(rows, taps->weights + (size_t)i * 2 * taps->pairs, taps->pairs, crop->padded, crop->lines[c]);
    }
    const int grey = crop->jpeg.component_count == 1;
    level->colour(crop->lines[0], grey ? NULL : crop->lines[1], grey ? NULL : crop->lines[2], crop->size,
                  out + (size_t)i * crop->size * 3);
}

/* Whether the rows of MCUs above `row` are all that row `i` of the output needs. */
static int is_ready(const struct crop *crop, int i, int row) {
    const int v = crop->jpeg.components[0].v;
    return crop->down[0].stop[i] <= 8 * v * row && (crop->jpeg.component_count == 1 || crop->down[1].stop[i] <= 8 * row);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static int decode_crop(struct decoder *decoder, struct crop *crop, uint8_t *out) {
    const int a_group = UNITS * crop->rows_a_unit;
    int i = 0;
    for (int row = crop->top; row < crop->bottom; row += a_group) {
        const int count = crop->bottom - row < a_group ? crop->bottom - row : a_group;
        for (size_t k = 0; k < count * crop->row_size; k++)
            memset(crop->blocks[0][k].coefficients, 0, sizeof crop->blocks[0][k].coefficients);
        const int status = decode_rows(decoder, crop, row, count);
        if (status) return status;
        for (int slot = 0; slot < count; slot += crop->rows_a_unit)
            samples(crop, row + slot, slot, count - slot < crop->rows_a_unit ? count - slot : crop->rows_a_unit);
        for (; i < crop->size && is_ready(crop, i, row + count); i++) output_row(crop, i, out);
    }
    return i == crop->size ? DECODED : UNUSUAL;
}

/* The entries that it comes with, or those that a walk finds. Returns a status. */
static int find_entries(struct decoder *decoder, struct crop *crop) {
    const struct jpeg *jpeg = &crop->jpeg;
    const int found = entry_spacing(jpeg), last = crop->bottom < jpeg->down;
    crop->spacing = found ? found : CLOSEST;
    crop->entry_count = entries_a_row(jpeg, crop->spacing) * (found ? crop->bottom : jpeg->down) + (found && last);
    crop->entries = room_for(&decoder->entries, crop->entry_count * sizeof *crop->entries);
    if (!crop->entries || jpeg->restart_interval) return UNUSUAL;
    if (!found) return walk_jpeg(jpeg, &decoder->walk, crop->entries) ? DECODED : UNUSUAL;
    return read_entries(jpeg, crop->entry_count, crop->entries) ? DECODED : DAMAGED;
}

int fastpt_decode_one(struct decoder *decoder, const uint8_t *data, uint64_t length, const int32_t shape[2],
                      const int32_t box[4], int flip, int filter, int size, uint8_t *out) {
    struct crop crop;
    const int top = box[0], left = box[1], height = box[2], width = box[3];
    if (top < 0 || left < 0 || height < 1 || width < 1 || height > shape[0] - top || width > shape[1] - left) return UNUSUAL;
    if (size < 1 || size > 65500 || filter < 0 || filter >= FILTERS) return UNUSUAL;
    if (!read_headers(&crop.jpeg, data, length)) return UNUSUAL;
    if (crop.jpeg.height != shape[0] || crop.jpeg.width != shape[1]) return UNUSUAL;
    const int down = 8 * crop.jpeg.components[0].v, across = 8 * crop.jpeg.components[0].h;
    crop.top = top / down, crop.bottom = (top + height + down - 1) / down;
    crop.left = left / across, crop.right = (left + width + across - 1) / across;
    crop.width = crop.right - crop.left, crop.rows_a_unit = 16 / down;
    crop.size = size, crop.padded = (size + 15) / 16 * 16;
    crop.across[1].pairs = crop.down[1].pairs = 0;
    const int status = find_entries(decoder, &crop);
    if (status) return status;
    crop.before = crop.left % crop.spacing;
    if (!prepare_tables(decoder, &crop) || !prepare_taps(decoder, &crop, box, flip, filter)) return UNUSUAL;
    if (!prepare_memory(decoder, &crop)) return UNUSUAL;
    return decode_crop(decoder, &crop, out);
}

struct decoder *fastpt_decoder_new(void) { return calloc(1, sizeof(struct decoder)); }

void fastpt_decoder_free(struct decoder *decoder) {
    struct room *rooms[] = {&decoder->entries, &decoder->bytes, &decoder->blocks,
                            &decoder->strip,   &decoder->rings, &decoder->taps,         &decoder->lines,
                            &decoder->walk.bytes, &decoder->walk.starts};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) free(rooms[i]->bytes);
    free(decoder);
}

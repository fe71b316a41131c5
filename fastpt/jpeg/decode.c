/* A crop, from the headers to the pixels, as decode.h has it. The steps are those of rows.h, levels.h and taps.h; here is
   what goes where.

   Luma rows are dealt with 16 at a time, a unit: one row of MCUs where colour is at half the height, else two. A group of
   three units is decoded before its samples are made. */

#include "decode.h"

#include <stdlib.h>

#include "rows.h"
#include "taps.h"

/* What a crop is made of. */
struct crop {
    struct rows rows;
    struct taps across[2], down[2]; /* of luma, of colour */
    int size, padded;               /* of the output; up to a multiple of 16 */
    size_t ring_row;                /* numbers in a pair of rows */
    int ring_pairs;                 /* of a ring: a power of two */
    int16_t *rings[3], *lines[3];
};

/* --- preparations ------------------------------------------------------------------------------------------------- */

static int prepare_taps(struct decoder *decoder, struct crop *crop, const int32_t box[4], int flip, int filter) {
    const int size = crop->size, shrinks = box[2] >= size && box[3] >= size;
    const int planes = crop->rows.jpeg.component_count == 1 ? 1 : 2;
    const struct component *luma = &crop->rows.jpeg.components[0];
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
        const int origin = i == 1 ? 8 * crop->rows.left * luma->h : i == 3 ? 8 * crop->rows.left : 0;
        make_taps(taps[i], &axes[i], origin, size, crop->padded, flip && i % 2);
    }
    return 1;
}

static int prepare_memory(struct decoder *decoder, struct crop *crop) {
    crop->ring_row = 2 * (size_t)crop->padded;
    const int needed = 8 * UNITS + 8 + crop->down[0].pairs + crop->down[1].pairs;
    for (crop->ring_pairs = 1; crop->ring_pairs < needed;) crop->ring_pairs *= 2;
    const size_t ring = crop->ring_pairs * crop->ring_row;
    int16_t *rings = room_for(&decoder->rings, 3 * ring * sizeof *rings);
    int16_t *lines = room_for(&decoder->lines, 3 * (size_t)crop->padded * sizeof *lines);
    if (!rings || !lines) return 0;
    for (int c = 0; c < 3; c++) crop->rings[c] = rings + c * ring, crop->lines[c] = lines + c * crop->padded;
    return 1;
}

/* --- samples ------------------------------------------------------------------------------------------------------ */

/* Where the samples of a component's rows of this half of a strip go: the pairs of rows from MCU row `row` on. */
static void ring_rows(const struct crop *crop, int component, int first_pair, int16_t **rows) {
    for (int i = 0; i < 4; i++)
        rows[i] = crop->rings[component] + ((first_pair + i) & (crop->ring_pairs - 1)) * crop->ring_row;
}

/* A unit of decoded rows, from `slot` on, into the rings. */
static void samples(const struct crop *crop, int row, int slot, int count) {
    const struct component *luma = &crop->rows.jpeg.components[0];
    const int v = luma->v, colour = luma->h * v; /* the block of Cb; that of Cr follows */
    int16_t *rows[8];
    inverse_luma(&crop->rows, slot, count);
    ring_rows(crop, 0, 4 * v * row, rows), ring_rows(crop, 0, 4 * v * row + 4, rows + 4);
    level_in_use()->across(crop->rows.strip, &crop->across[0], crop->padded, rows);
    if (crop->rows.jpeg.component_count == 1) return;
    if (v == 2) { /* Cb and Cr have a half each */
        inverse(&crop->rows, slot, 1, colour, 0, 0), inverse(&crop->rows, slot, 2, colour + 1, 0, 1);
        ring_rows(crop, 1, 4 * row, rows), ring_rows(crop, 2, 4 * row, rows + 4);
        level_in_use()->across(crop->rows.strip, &crop->across[1], crop->padded, rows);
        return;
    }
    for (int c = 1; c < 3; c++) {
        for (int half = 0; half < count; half++) inverse(&crop->rows, slot + half, c, colour + c - 1, 0, half);
        ring_rows(crop, c, 4 * row, rows), ring_rows(crop, c, 4 * row + 4, rows + 4);
        level_in_use()->across(crop->rows.strip, &crop->across[1], crop->padded, rows);
    }
}

/* One row of the output, of what the rings hold. */
static void output_row(const struct crop *crop, int i, uint8_t *out) {
    const int16_t *rows[MOST_TAPS / 2];
    for (int c = 0; c < crop->rows.jpeg.component_count; c++) {
        const struct taps *taps = &crop->down[c > 0];
        for (int j = 0; j < taps->pairs; j++)
            rows[j] = crop->rings[c] + ((taps->first[i] + j) & (crop->ring_pairs - 1)) * crop->ring_row;
        level_in_use()->down(rows, taps->weights + (size_t)i * 2 * taps->pairs, taps->pairs, crop->padded, crop->lines[c]);
    }
    const int grey = crop->rows.jpeg.component_count == 1;
    level_in_use()->colour(crop->lines[0], grey ? NULL : crop->lines[1], grey ? NULL : crop->lines[2], crop->size,
                  out + (size_t)i * crop->size * 3);
}

/* Whether the rows of MCUs above `row` are all that row `i` of the output needs. */
static int is_ready(const struct crop *crop, int i, int row) {
    const int v = crop->rows.jpeg.components[0].v;
    return crop->down[0].stop[i] <= 8 * v * row && (crop->rows.jpeg.component_count == 1 || crop->down[1].stop[i] <= 8 * row);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static int decode_crop(struct decoder *decoder, struct crop *crop, uint8_t *out) {
    const int a_group = UNITS * crop->rows.rows_a_unit;
    int i = 0;
    for (int row = crop->rows.top; row < crop->rows.bottom; row += a_group) {
        const int count = crop->rows.bottom - row < a_group ? crop->rows.bottom - row : a_group;
        const int status = decode_rows(decoder, &crop->rows, row, count);
        if (status) return status;
        for (int slot = 0; slot < count; slot += crop->rows.rows_a_unit)
            samples(crop, row + slot, slot, count - slot < crop->rows.rows_a_unit ? count - slot : crop->rows.rows_a_unit);
        for (; i < crop->size && is_ready(crop, i, row + count); i++) output_row(crop, i, out);
    }
    return i == crop->size ? DECODED : UNUSUAL;
}

static int decode_box(struct decoder *decoder, struct crop *crop, const int32_t box[4], int trusted, int flip, int filter,
                      uint8_t *out) {
    crop->across[1].pairs = crop->down[1].pairs = 0;
    const int status = prepare_rows(decoder, &crop->rows, box, trusted);
    if (status) return status;
    if (!prepare_taps(decoder, crop, box, flip, filter) || !prepare_memory(decoder, crop)) return UNUSUAL;
    return decode_crop(decoder, crop, out);
}

int fastpt_decode_one(struct decoder *decoder, const uint8_t *data, uint64_t length, const int32_t shape[2],
                      const int32_t box[4], int flip, int filter, int size, uint8_t *out) {
    struct crop crop;
    const int top = box[0], left = box[1], height = box[2], width = box[3];
    if (top < 0 || left < 0 || height < 1 || width < 1 || height > shape[0] - top || width > shape[1] - left) return UNUSUAL;
    if (size < 1 || size > 65500 || filter < 0 || filter >= FILTERS) return UNUSUAL;
    const struct jpeg *jpeg = &crop.rows.jpeg;
    if (!read_headers(&crop.rows.jpeg, data, length) || jpeg->height != shape[0] || jpeg->width != shape[1]) return UNUSUAL;
    crop.size = size, crop.padded = (size + 15) / 16 * 16;
    const int status = decode_box(decoder, &crop, box, 1, flip, filter, out);
    if (status != DAMAGED) return status;
    return decode_box(decoder, &crop, box, 0, flip, filter, out) ? UNUSUAL : MISLED;
}

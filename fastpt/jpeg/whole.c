/* Whole planes, as whole.h has it. */

#include "whole.h"

#include "decode.h"
#include "rows.h"

static int read_shaped(struct jpeg *jpeg, const uint8_t *data, size_t length, const int32_t shape[2]) {
    return read_headers(jpeg, data, length) && jpeg->height == shape[0] && jpeg->width == shape[1];
}

int fastpt_plane_blocks(const uint8_t *data, size_t length, const int32_t shape[2], int32_t blocks[6]) {
    struct jpeg jpeg;
    if (!read_shaped(&jpeg, data, length, shape)) return 0;
    for (int c = 0; c < jpeg.component_count; c++) {
        blocks[2 * c] = jpeg.across * jpeg.components[c].h;
        blocks[2 * c + 1] = jpeg.down * jpeg.components[c].v;
    }
    return jpeg.component_count;
}

/* The strip, or a half of it, into the plane of a component: 8 rows from row of blocks `first` on, and 8 from `second`. */
static void put(const struct rows *rows, int component, uint8_t *first_plane, int first, uint8_t *second_plane, int second) {
    const size_t width = (size_t)8 * rows->jpeg.across * rows->jpeg.components[component].h;
    level_in_use()->bytes(rows->strip, width, first_plane + 8 * width * first, second_plane + 8 * width * second);
}

/* A unit of decoded rows, from `slot` on, into the planes. Where it is a single row of MCUs with one row of blocks, that is
   written twice. */
static void samples(const struct rows *rows, int row, int slot, int count, uint8_t *const planes[3]) {
    const struct component *luma = &rows->jpeg.components[0];
    const int v = luma->v, colour = luma->h * v; /* the block of Cb; that of Cr follows */
    const int next = v == 1 && count > 1 ? row + 1 : row;
    inverse_luma(rows, slot, count);
    if (v == 1 && count == 1)
        for (int x = 0; x < luma->h; x++) inverse(rows, slot, 0, x, x, 1);
    put(rows, 0, planes[0], v * row, planes[0], v == 2 ? 2 * row + 1 : next);
    if (rows->jpeg.component_count == 1) return;
    if (v == 2) { /* Cb and Cr have a half each */
        inverse(rows, slot, 1, colour, 0, 0), inverse(rows, slot, 2, colour + 1, 0, 1);
        put(rows, 1, planes[1], row, planes[2], row);
        return;
    }
    for (int c = 1; c < 3; c++) {
        inverse(rows, slot, c, colour + c - 1, 0, 0), inverse(rows, slot + (next > row), c, colour + c - 1, 0, 1);
        put(rows, c, planes[c], row, planes[c], next);
    }
}

int fastpt_decode_planes(struct decoder *decoder, const uint8_t *data, size_t length, const int32_t shape[2],
                         uint8_t *const planes[3]) {
    struct rows rows;
    if (!read_shaped(&rows.jpeg, data, length, shape)) return UNUSUAL;
    const int32_t box[4] = {0, 0, shape[0], shape[1]};
    int status = prepare_rows(decoder, &rows, box, 0);
    const int a_group = UNITS * rows.rows_a_unit;
    for (int row = 0; status == DECODED && row < rows.bottom; row += a_group) {
        const int count = rows.bottom - row < a_group ? rows.bottom - row : a_group;
        status = decode_rows(decoder, &rows, row, count);
        for (int slot = 0; status == DECODED && slot < count; slot += rows.rows_a_unit) {
            const int left = count - slot < rows.rows_a_unit ? count - slot : rows.rows_a_unit;
            samples(&rows, row + slot, slot, left, planes);
        }
    }
    return status ? UNUSUAL : DECODED;
}

/* Rows of MCUs of a picture, decoded into blocks, each from an entry to the left of where it is wanted. What a crop and
   whole planes have in common: decode.c, whole.c. */

#ifndef FASTPT_ROWS_H
#define FASTPT_ROWS_H

#include "entries.h"
#include "levels.h"
#include "markers.h"
#include "room.h"
#include "walk.h"

#define UNITS 3 /* of a group: rows that are decoded in turn, as they are independent where there are entry points */

/* Tables and memory that are used again for each picture; one for each thread. */
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

/* Rows `top` to `bottom` of MCUs, columns `left` to `right`: those of a box, and one above where rows.c needs it. A unit is
   16 rows of luma: one row of MCUs where colour is at half the height, else two. */
struct rows {
    struct jpeg jpeg;
    struct mcu mcu;
    int top, left, bottom, right;
    int width;       /* MCUs: right - left */
    int before;      /* MCUs from the entry that rows are decoded from to the left one */
    int decoded;     /* MCUs of a row from that entry on: to the right one, or on to the next entry or the edge */
    int rows_a_unit; /* of MCUs */
    int16_t quantisation[3][128];
    int spacing, entry_count; /* of entry points */
    struct entry *entries;
    /* What has been decoded of the rows of a group. */
    struct block *blocks[2 * UNITS]; /* from the MCU of the entry on */
    size_t row_size;                 /* blocks in a row */
    int16_t *strip;                  /* samples of 16 rows, see planes.h */
};

/* The level that is in use. */
const struct level *level_in_use(void);

/* Make ready to decode those that the box (top, left, height, width) of `rows->jpeg` touches, from the entry points that
   the JPEG comes with, if they are `trusted` and there are any, else from those that a walk finds: then all its data are
   sound. Returns a status (decode.h). */
int prepare_rows(struct decoder *decoder, struct rows *rows, const int32_t box[4], int trusted);

/* Decode `count` rows from `row` on, of one group at most. Returns a status. */
int decode_rows(struct decoder *decoder, struct rows *rows, int row, int count);

/* The samples of one block of a component in each MCU, the one at column `x` of its blocks, into the upper or lower `half`
   of the strip; of the row in `slot` of the group. */
void inverse(const struct rows *rows, int slot, int component, int block, int x, int half);

/* Those of luma, of `count` rows that are left of the group from `slot` on, into both halves. */
void inverse_luma(const struct rows *rows, int slot, int count);

#endif

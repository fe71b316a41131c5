/* Entry points: places in the entropy-coded data of a JPEG at which decoding may begin, stored in that JPEG.

   They stand in an APP9 segment, right after the APP0 (JFIF) that the JPEG begins with, or SOI where it has none:

       ff e9 | length: 2 bytes, big endian | "fastpt" 00 | version: 01 | spacing: 2 bytes, little endian | changes

   There is an entry before MCU 0, spacing, 2 * spacing ... of every MCU row, in this order, rows from above. Changes are
   what separates each entry, but for the first, from the one before it: that of its place, then that of the DC
   predictor of each component. The first entry is at place 0 with predictors 0. A number is stored seven bits a byte, the
   lowest first, all bytes but its last with 0x80 added (LEB128); of a predictor's change 0, -1, 1, -2 ... are stored as
   0, 1, 2, 3 ... (zigzag).

   A place is that of the next unread bit: 8 times the bytes before its byte, counted from the end of the scan's header as
   they are stored, stuffed zeros included, plus the bits of its byte that have been read, 0 to 7. Its byte is never a
   stuffed zero. So a decoder begins at byte `place / 8` and drops `place % 8` bits, and knows nothing of what lies before.

   JPEGs with restart intervals have none, nor have those of few MCUs (LEAST_MCUS). The spacing is 8, or 16, 32 ... so
   that they fit in a segment; where one entry a row does not fit either, there are none.

   Entries are hints. They are right in what preparation stores; in a file from elsewhere they may be anything: who decodes
   by them sees whether each row arrives where the next entry is, with its predictors, or else goes without them. */

#ifndef FASTPT_ENTRIES_H
#define FASTPT_ENTRIES_H

#include "markers.h"

#define CLOSEST 8            /* spacing, MCUs */
#define LEAST_MCUS 4
#define LARGEST_SEGMENT 65537 /* bytes, with its marker */

struct entry {
    uint32_t place; /* bits, as above */
    int32_t dc[3];  /* predictors; of wrong entries any number */
};

/* How many entries there are if they are `spacing` MCUs apart: `entries_a_row` times jpeg->down. */
static inline int entries_a_row(const struct jpeg *jpeg, int spacing) { return (jpeg->across + spacing - 1) / spacing; }

/* Spacing of the entries that the JPEG comes with, MCUs; 0 where it has none. */
int entry_spacing(const struct jpeg *jpeg);

/* Read the first `count` entries of a JPEG that has some, which may be all of them or those of its first rows, and take
   a nanosecond or two for each number. Returns whether they are there, at rising places within the data; else the JPEG
   is damaged. */
int read_entries(const struct jpeg *jpeg, int count, struct entry *entries);

/* Write the segment, marker included, for a JPEG whose `entries` were noted CLOSEST apart. Returns its length in bytes, or
   0 if there can be none. */
int write_entries(const struct jpeg *jpeg, const struct entry *entries, uint8_t segment[LARGEST_SEGMENT]);

/* Copy a JPEG of any kind without the segments of entries that it has, with `segment` (of `size` bytes, which may be 0) in
   their place. `out` has room for the JPEG and the segment. Returns the number of bytes. */
size_t replace_entries(const uint8_t *data, size_t length, const uint8_t *segment, int size, uint8_t *out);

#endif

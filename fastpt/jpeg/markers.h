/* What the headers of a JPEG say, up to its scan: the one parser for the walk and for the decoder.

   Read are the commonest JPEGs only: Huffman, sequential, 8 bits, one scan of all components; grey, or YCbCr whose
   colour is stored once for each MCU. Of these, any that libjpeg would warn of is not read either. */

#ifndef FASTPT_MARKERS_H
#define FASTPT_MARKERS_H

#include <stddef.h>
#include <stdint.h>

#define MOST_BLOCKS (1 << 20) /* of a component, so that the sum of its 11-bit DC differences fits 32 bits */

#define NAME "fastpt" /* and its 0: what the segments of ours, which are APP9, begin with */

enum { DC, AC };

/* A table of the file: how many codes there are of each length from 1 to 16, and what they mean. */
struct huffman {
    const uint8_t *counts, *symbols; /* 16, and as many as these add up to, at most 256; in the file, or NULL */
};

struct component {
    int id, h, v; /* blocks across and down in each MCU: 1, 2 or 4, and 1 or 2; of colour always 1 and 1 */
    int quantisation, dc, ac; /* numbers of its tables, which are there */
};

struct jpeg {
    const uint8_t *data;
    size_t length;
    size_t scan; /* where the entropy-coded data begin */
    int width, height, across, down; /* pixels; MCUs */
    int restart_interval; /* MCUs; 0: none */
    int component_count; /* 1: grey, 3: YCbCr */
    struct component components[3];
    struct huffman huffman[2][4]; /* [DC or AC][number] */
    int quantised; /* which of the next it has, one bit each */
    uint16_t quantisation[4][64]; /* in zigzag order */
    const uint8_t *entries; /* what follows the name in the first of our own segments (entries.h), or NULL; */
    int entries_length;     /* and its bytes */
};

/* Whether the `length` bytes at `data` begin with headers as above. The `jpeg` refers to them. Nothing is trusted: what
   it says holds, and nothing outside `data` was read. That its codes are a Huffman code is for whoever uses them. */
int read_headers(struct jpeg *jpeg, const uint8_t *data, size_t length);

/* Length in bytes, marker included, of the segment at `at`, of which there are `left` bytes; 0 if there is no whole one, or
   it is the scan's. */
size_t segment_length(const uint8_t *at, size_t left);

/* Whether the segment of this length at `at` is one of ours. */
int is_ours(const uint8_t *at, size_t length);

#endif

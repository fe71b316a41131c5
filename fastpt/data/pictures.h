/* The stored pictures of a data set, read and checked: the one step that stands before every decoder. */

#ifndef FASTPT_PICTURES_H
#define FASTPT_PICTURES_H

#include <stddef.h>
#include <stdint.h>

/* What came of a picture. */
enum result {
    GOOD,       /* it is what was stored */
    SHORT,      /* its file ends before it does */
    UNREADABLE, /* the file is not open, or the disk fails */
    DAMAGED,    /* its bytes have another checksum, or its frame header states another size than the table */
    LEFT,       /* the decoder leaves it to another one */
    MISLED      /* it is what was stored, and decoded, though its entry points do not fit its data */
};

/* N pictures: the columns of samples.py, and where what they name is found. */
struct pictures {
    const void *shard;      /* [N], uint16; uint32 if `wide` */
    const uint64_t *offset; /* [N] */
    const uint32_t *size;   /* [N] */
    const uint16_t *width, *height; /* [N] */
    const uint64_t *xxh3;   /* [N]; 0 is not known */
    const int32_t *files;   /* the descriptor of each shard; -1 while it is not open */
    uint64_t (*checksum)(const void *bytes, size_t length); /* XXH3_64bits */
    void (*frame_sizes)(int count, const uint8_t *const *jpegs, const uint64_t *lengths, int32_t *sizes);
    int32_t wide;
};

/* Read picture `id` into `out`, which has room for its size, and check it. The checksum comes first: a parser sees no
   bytes but those that were stored, where their checksum is known. */
enum result fastpt_read_picture(const struct pictures *pictures, int64_t id, uint8_t *out);

#endif

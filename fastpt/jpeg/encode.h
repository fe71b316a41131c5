/* Encodes planes of samples as a baseline JPEG: libjpeg's bytes, with its accurate DCT ("islow"). Preparation has planes,
   not pixels, and wants entry points, which are known here without a walk. */

#ifndef FASTPT_ENCODE_H
#define FASTPT_ENCODE_H

#include <stddef.h>
#include <stdint.h>

/* A picture of `width` x `height` by its planes: one of grey, or three, of which those of colour have half the size, rounded
   up, if `halved`; rows are `strides` bytes apart. */
struct picture {
    const uint8_t *planes[3];
    int64_t strides[3];
    int32_t plane_count, halved, width, height;
};

/* Bytes that there has to be room for. */
size_t fastpt_encoded_room(const struct picture *picture);

/* Encode it at `quality`, 1 to 100, into `out`, with entry points if it is to have some (entries.h) and `noted` asks for
   them; `noted` then says whether it has. Returns the number of bytes; 0 if there is no memory, or if they do not fit into
   the room that is usual. */
size_t fastpt_encode(const struct picture *picture, int quality, uint8_t *out, int *noted);

#endif

/* All samples of a JPEG, plane by plane. */

#ifndef FASTPT_WHOLE_H
#define FASTPT_WHOLE_H

#include <stddef.h>
#include <stdint.h>

struct decoder;

/* How many blocks the planes of a JPEG of `shape` (height, width) have: across, down for each of up to three into `blocks`.
   Returns the number of planes; 0 if it is of another size, or of a kind that is left to another decoder. */
int fastpt_plane_blocks(const uint8_t *jpeg, size_t length, const int32_t shape[2], int32_t blocks[6]);

/* Decode these planes, bytes: 8 a block and no more in a row, samples by libjpeg's accurate inverse DCT. Returns DECODED; or
   UNUSUAL if it is of such a kind, or not sound to its last bit. */
int fastpt_decode_planes(struct decoder *decoder, const uint8_t *jpeg, size_t length, const int32_t shape[2],
                         uint8_t *const planes[3]);

#endif

/* Decodes only what a crop needs of a JPEG, resized: blocks, planes, pixels. */

#ifndef FASTPT_DECODE_H
#define FASTPT_DECODE_H

#include <stdint.h>

/* What became of a picture. One that was MISLED has entry points that do not fit its data, and was decoded without them: its
   pixels are right. An UNUSUAL one is of a kind that is left to another decoder (markers.h says which kinds are read), or has
   data that no decoder can make sense of; its output holds nothing of use. DAMAGED is said between these files only: what
   was decoded from entry points makes no sense. */
enum { DECODED, UNUSUAL, MISLED, DAMAGED };

struct decoder; /* tables and memory that are used again for each picture; one for each thread */

struct decoder *fastpt_decoder_new(void); /* NULL: there is no memory */
void fastpt_decoder_free(struct decoder *decoder);

/* Decode the box (top, left, height, width) of the JPEG of `shape` (height, width) and resize it to `size` x `size` by
   `filter` (taps.h): uint8 [size, size, 3] at `out`, mirrored if `flip`. */
int fastpt_decode_one(struct decoder *decoder, const uint8_t *jpeg, uint64_t length, const int32_t shape[2],
                      const int32_t box[4], int flip, int filter, int size, uint8_t *out);

/* What the inner loops are compiled for: the best that the processor has of plain C, SSE2 and AVX2. */
const char *fastpt_decoder_name(void);

/* For tests: use those of this level (0 plain, 1 SSE2, 2 AVX2). Returns 0 if the processor has no such level. */
int fastpt_decoder_level(int level);

#endif

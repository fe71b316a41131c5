/* The inner loops for any x86-64. */

#ifdef __SSE2__

#define SSE2

#include "blocks.h"
#include "dct.h"
#include "planes.h"

const struct level sse2_level = {"SSE2", decode_in_turn, inverse_row, bytes, across, down, colour, forward_pair};

#endif

/* The decoder's inner loops for any x86-64. */

#ifdef __SSE2__

#define SSE2

#include "blocks.h"
#include "idct.h"
#include "planes.h"

const struct level sse2_level = {"SSE2", decode_in_turn, inverse_row, across, down, colour};

#endif

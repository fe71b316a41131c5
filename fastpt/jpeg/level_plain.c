/* The decoder's inner loops in plain C. */

#include "blocks.h"
#include "idct.h"
#include "planes.h"

const struct level plain_level = {"plain C", decode_in_turn, inverse_row, across, down, colour};

/* The inner loops in plain C. */

#include "blocks.h"
#include "dct.h"
#include "planes.h"

const struct level plain_level = {"plain C", decode_in_turn, inverse_row, bytes, across, down, colour, forward_pair};

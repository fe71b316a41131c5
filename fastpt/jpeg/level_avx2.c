/* The inner loops for processors with AVX2 and BMI2. */

#include "levels.h"

#ifdef HAVE_AVX2

#pragma GCC target("avx2,bmi,bmi2")
#define AVX2

#include "blocks.h"
#include "dct.h"
#include "planes.h"

const struct level avx2_level = {"AVX2", decode_in_turn, inverse_row, bytes, across, down, colour, forward_pair};

#endif

/* How one axis of a plane is resized: which samples an output is the weighted mean of. */

#ifndef FASTPT_TAPS_H
#define FASTPT_TAPS_H

#include <stdint.h>

enum filter { AREA, BILINEAR, BICUBIC, FILTERS };

#define MOST_TAPS 1024  /* of an output: beyond, weights of 14 bits are too coarse */
#define WEIGHT_BITS 14

/* Output i is the mean of the samples of `pairs` pairs (2j, 2j + 1) from pair `first[i]`, weighted by the numbers from
   weights[2 * pairs * i], whose sum is 1 << WEIGHT_BITS. Samples from `stop[i]` on have no weight. */
struct taps {
    int pairs;
    int32_t *first, *stop;
    int16_t *weights;
};

/* What is resized: `length` pixels from `start` of a picture, seen through samples of which each covers `covered` pixels, 1,
   2 or 4. Pixel x is at (x + 1/2) / covered - 1/2 among the samples, as they are sited in JPEGs, and between two of them it
   is their linear interpolation: where it covers 2, that is libjpeg's "fancy" upsampling, where 4, libjpeg only repeats it.
   This and the resizing are one step: where output i takes w(i, x) of pixel x, it takes the sum over x of w(i, x) u(x, j)
   of sample j, u(x, j) being what pixel x has of it. Samples that cover nothing of the box are not looked at; the last one
   stands for them.

   `shrinks` says that both axes of the box get smaller: where one grows, "area" means what it means in OpenCV, linear
   interpolation of the two pixels that an output touches. */
struct axis {
    int start, length, covered;
    int filter, shrinks;
};

/* How many pairs an output needs at most; more than MOST_TAPS / 2 must not be asked for. */
int most_pairs(const struct axis *axis, int size);

/* The taps of `size` outputs, the last one first if `mirrored`, and of outputs without weight up to `padded`, among samples
   counted from `origin`. The arrays of `taps` have room for `padded` outputs, of `taps->pairs` pairs each. */
void make_taps(struct taps *taps, const struct axis *axis, int origin, int size, int padded, int mirrored);

#endif

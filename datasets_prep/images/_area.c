/* Resizes one plane of bytes by area: each output pixel is the mean of the input that it covers.

   Built as a plain shared library and called through ctypes (area.py). Rows are summed first, which the compiler turns
   into vector instructions, then each sum is reduced across. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* How one axis shrinks: output i is the mean of `most` inputs from `first[i]`, weighted by `weights[i * most]`; weights
   beyond its own are 0, and `first` leaves room for them. */
struct taps {
    int most, *first;
    float *weights;
};

static int make_taps(struct taps *taps, int length, int size) {
    const double scale = (double)length / size;
    taps->most = (int)scale + 2 < length ? (int)scale + 2 : length;
    taps->first = malloc(size * sizeof(int));
    taps->weights = malloc((size_t)size * taps->most * sizeof(float));
    if (!taps->first || !taps->weights) return 0;
    for (int i = 0; i < size; i++) {
        /* In units of 1 / size, so that the borders are exact. */
        const int64_t start = (int64_t)i * length, stop = start + length;
        int first = (int)(start / size);
        if (first > length - taps->most) first = length - taps->most;
        taps->first[i] = first;
        for (int j = 0; j < taps->most; j++) {
            const int64_t left = (int64_t)(first + j) * size, right = left + size;
            const int64_t covered = (right < stop ? right : stop) - (left > start ? left : start);
            taps->weights[(size_t)i * taps->most + j] = covered > 0 ? (float)((double)covered / length) : 0;
        }
    }
    return 1;
}

static void sum_rows(const uint8_t *plane, ptrdiff_t stride, int width, int most, const float *weights, float *sums) {
    for (int x = 0; x < width; x++) sums[x] = weights[0] * plane[x];
    for (int j = 1; j < most; j++) {
        if (!weights[j]) continue;
        const uint8_t *row = plane + j * stride;
        for (int x = 0; x < width; x++) sums[x] += weights[j] * row[x];
    }
}

static inline void reduce_row(const float *sums, const struct taps *across, int most, int width, uint8_t *out) {
    for (int x = 0; x < width; x++) {
        const float *from = sums + across->first[x], *weights = across->weights + (size_t)x * most;
        float sum = 0.5f; /* so that cutting off rounds */
        for (int j = 0; j < most; j++) sum += weights[j] * from[j];
        out[x] = (uint8_t)sum;
    }
}

/* The plane of `width` x `height`, rows `stride` bytes apart, to `smaller_width` x `smaller_height`, which are no larger.
   Returns 0 if there is no memory. */
int fastpt_area(const uint8_t *plane, ptrdiff_t stride, int width, int height, uint8_t *out, int smaller_width,
                int smaller_height) {
    struct taps across = {0}, down = {0};
    float *sums = malloc(width * sizeof(float));
    const int made = make_taps(&across, width, smaller_width) & make_taps(&down, height, smaller_height) & (sums != 0);
    for (int y = 0; made && y < smaller_height; y++, out += smaller_width) {
        sum_rows(plane + down.first[y] * stride, stride, width, down.most, down.weights + (size_t)y * down.most, sums);
        switch (across.most) { /* a number known to the compiler is twice as fast */
        case 2: reduce_row(sums, &across, 2, smaller_width, out); break;
        case 3: reduce_row(sums, &across, 3, smaller_width, out); break;
        case 4: reduce_row(sums, &across, 4, smaller_width, out); break;
        default: reduce_row(sums, &across, across.most, smaller_width, out);
        }
    }
    free(across.first), free(across.weights), free(down.first), free(down.weights), free(sums);
    return made;
}

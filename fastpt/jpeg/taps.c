/* The taps of area, bilinear and bicubic resizing, as taps.h has it. */

#include "taps.h"

#include <math.h>
#include <string.h>

static double triangle(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* Keys' cubic with a = -0.5, as Pillow and torch's antialiased bicubic have it. */
static double cubic(double x) {
    x = fabs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
    return 0;
}

static int smaller(int a, int b) { return a < b ? a : b; }

/* floor and ceil of numbers that are not negative, without a call */
static int below(double x) { return (int)x; }
static int above(double x) { return (int)x + ((int)x < x); }

static double support_of(const struct axis *axis, double scale) {
    const double wide = scale > 1 ? scale : 1;
    return axis->filter == BICUBIC ? 2 * wide : axis->filter == BILINEAR ? wide : scale / 2;
}

int most_pairs(const struct axis *axis, int size) {
    const double scale = (double)axis->length / size;
    const int linear = axis->filter == AREA && !axis->shrinks;
    const double pixels = linear ? 2 : ceil(2 * support_of(axis, scale)) + 1; /* that an output touches, wherever it begins */
    if (pixels > MOST_TAPS - 2) return MOST_TAPS;
    const int n = axis->covered, samples = n == 1 ? (int)pixels : ((int)pixels + n - 2) / n + 2;
    return samples / 2 + 1; /* one may be the second of a pair */
}

/* Those that an output takes, from `first` on, and how much. */
struct taken {
    int first, count;
    double weights[MOST_TAPS];
};

/* Of the pixels of the box; `first` is counted from its start. */
static void take_pixels(struct taken *taken, const struct axis *axis, int i, int size) {
    const int length = axis->length;
    const double scale = (double)length / size, from = (double)i * length / size, to = (i + 1.0) * length / size;
    double *weights = taken->weights;
    if (axis->filter == AREA && !axis->shrinks) {
        const double next = to - below(from) - 1;
        const int two = next > 0 && below(from) + 1 < length;
        taken->first = below(from), taken->count = 1 + two;
        weights[0] = two ? 1 - next / scale : 1, weights[1] = next / scale;
    } else if (axis->filter == AREA) {
        taken->first = below(from), taken->count = smaller(above(to), length) - below(from);
        for (int j = 0; j < taken->count; j++) weights[j] = 1;
        weights[0] = (taken->first + 1 < to ? taken->first + 1 : to) - from;
        if (taken->count > 1) weights[taken->count - 1] = to - (taken->first + taken->count - 1);
    } else {
        const double wide = scale > 1 ? scale : 1, support = support_of(axis, scale), middle = (i + 0.5) * scale;
        const double low = middle - support + 0.5;
        taken->first = low > 0 ? below(low) : 0;
        taken->count = smaller(below(middle + support + 0.5), length) - taken->first;
        for (int j = 0; j < taken->count; j++) {
            const double x = (taken->first + j + 0.5 - middle) / wide;
            weights[j] = axis->filter == BICUBIC ? cubic(x) : triangle(x);
        }
    }
}

/* Of the samples that these pixels are interpolated from. */
static void take_samples(struct taken *samples, const struct taken *pixels, const struct axis *axis) {
    const int n = axis->covered, first = axis->start / n, last = (axis->start + axis->length - 1) / n;
    /* In units of 1 / (2 n) of a sample pixel x is at 2 x + 1 - n. */
    const int begin = axis->start + pixels->first, place = 2 * begin + 1 - n;
    samples->first = place < 2 * n * first ? first : place / (2 * n);
    samples->count = 0;
    for (int k = 0, at = place; k < pixels->count; k++, at += 2) {
        int j = at < 0 ? 0 : at / (2 * n), share = at - 2 * n * j; /* of the next sample */
        if (at < 2 * n * first) j = first, share = 0;
        if (j >= last) j = last, share = 0;
        const int at_first = j - samples->first, count = at_first + 1 + (share > 0);
        while (samples->count < count) samples->weights[samples->count++] = 0;
        samples->weights[at_first] += pixels->weights[k] * (2 * n - share);
        if (share > 0) samples->weights[at_first + 1] += pixels->weights[k] * share;
    }
}

/* Weights of WEIGHT_BITS bits. Their sums are rounded, not they themselves: so they add up, and an even picture stays
   even. */
static void round_weights(int16_t *weights, const struct taken *taken) {
    double total = 0, sum = 0;
    for (int j = 0; j < taken->count; j++) total += taken->weights[j];
    const double factor = (1 << WEIGHT_BITS) / total;
    for (int j = 0, before = 0; j < taken->count; j++) {
        sum += taken->weights[j];
        const int rounded = below(sum * factor + (1 << WEIGHT_BITS) + 0.5) - (1 << WEIGHT_BITS); /* of negative ones too */
        weights[j] = rounded - before, before = rounded;
    }
}

void make_taps(struct taps *taps, const struct axis *axis, int origin, int size, int padded, int mirrored) {
    const int stride = 2 * taps->pairs;
    struct taken pixels, samples;
    memset(taps->weights, 0, (size_t)padded * stride * sizeof *taps->weights);
    for (int i = 0; i < size; i++) {
        const int at = mirrored ? size - 1 - i : i;
        const struct taken *taken = &pixels;
        take_pixels(&pixels, axis, i, size);
        if (axis->covered > 1) take_samples(&samples, &pixels, axis), taken = &samples;
        const int first = taken->first + (axis->covered > 1 ? 0 : axis->start) - origin;
        taps->first[at] = first / 2, taps->stop[at] = first + taken->count;
        round_weights(taps->weights + (size_t)at * stride + first % 2, taken);
    }
    for (int i = size; i < padded; i++) taps->first[i] = taps->first[size - 1], taps->stop[i] = taps->stop[size - 1];
}

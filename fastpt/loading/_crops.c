/* The boxes of crops.py, to the bit: the same numbers of the same generator (fastpt/rng.py), and the same IEEE
   operations on them in the same order. To be compiled with -ffp-contract=off. */

#include <math.h>
#include <stdint.h>

enum { TRIES = 10, CROP = 2 }; /* crops.TRIES, rng.CROP */

/* One more part of a key: `rng.bits`. */
static uint64_t chain(uint64_t state, uint64_t part) {
    uint64_t x = (state ^ part) + 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
}

/* The number-th uniform number of a picture. */
static double draw(uint64_t picture, int number) { return (double)(chain(picture, number) >> 11) * 0x1p-53; }

/* crops.exp */
static double exponential(double x) {
    static const double inverse_factorials[] = {
        1 / 6227020800.0, 1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0, 1 / 5040.0,
        1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, 1 / 2.0, 1.0, 1.0};
    const double power = rint(x * 0x1.71547652b82fep+0);
    const double rest = x - power * 0x1.62e42feep-1 - power * 0x1.a39ef35793c76p-33;
    double sum = inverse_factorials[0];
    for (int i = 1; i < 14; i++) sum = sum * rest + inverse_factorials[i];
    return ldexp(sum, (int)power);
}

static void central(int64_t width, int64_t height, double box_width, double box_height, int32_t *box) {
    box[2] = (int32_t)box_height, box[3] = (int32_t)box_width;
    box[0] = (int32_t)((height - box[2]) / 2), box[1] = (int32_t)((width - box[3]) / 2);
}

/* crops.random_resized_crops of `count` pictures: int64 [4, count], their widths, heights, ids and views. `bounds` are
   the least and most of scale, of ratio (width to height) and of its logarithm. */
void fastpt_random_resized_crops(int count, const int64_t *pictures, uint64_t seed, uint64_t epoch,
                                 const double bounds[6], int32_t *boxes, uint8_t *flips) {
    const int64_t *const widths = pictures, *const heights = widths + count, *const ids = heights + count,
                  *const views = ids + count;
    const double *const scale = bounds, *const ratio = bounds + 2, *const log_ratio = bounds + 4;
    const uint64_t key = chain(chain(chain(0, CROP), seed), epoch);
    for (int k = 0; k < count; k++) {
        const int64_t width = widths[k], height = heights[k];
        const uint64_t picture = chain(chain(key, ids[k]), views[k]);
        int32_t *box = boxes + 4 * k;
        flips[k] = draw(picture, 4 * TRIES) < 0.5;
        int try = 0;
        for (; try < TRIES; try++) {
            const double area = (double)(width * height) * (scale[0] + (scale[1] - scale[0]) * draw(picture, try));
            const double aspect =
                exponential(log_ratio[0] + (log_ratio[1] - log_ratio[0]) * draw(picture, TRIES + try));
            const double box_width = rint(sqrt(area * aspect)), box_height = rint(sqrt(area / aspect));
            if (box_width >= 1 && box_width <= (double)width && box_height >= 1 && box_height <= (double)height) {
                box[2] = (int32_t)box_height, box[3] = (int32_t)box_width;
                box[0] = (int32_t)(draw(picture, 2 * TRIES + try) * (double)(height - box[2] + 1));
                box[1] = (int32_t)(draw(picture, 3 * TRIES + try) * (double)(width - box[3] + 1));
                break;
            }
        }
        if (try == TRIES) { /* none fits: the largest central box within `ratio` */
            const double wide = (double)width, high = (double)height;
            central(width, height, fmax(wide > ratio[1] * high ? rint(high * ratio[1]) : wide, 1),
                    fmax(wide < ratio[0] * high ? rint(wide / ratio[0]) : high, 1), box);
        }
    }
}

/* crops.center_crops of `count` pictures: int64 [2, count], their widths and heights. */
void fastpt_center_crops(int count, const int64_t *pictures, double fraction, int32_t *boxes) {
    const int64_t *const widths = pictures, *const heights = widths + count;
    for (int k = 0; k < count; k++) {
        const double side = fmax(rint((double)(widths[k] < heights[k] ? widths[k] : heights[k]) * fraction), 1);
        central(widths[k], heights[k], side, side, boxes + 4 * k);
    }
}

/* Decodes only the part of a JPEG that a crop needs, and resizes it while its rows are still in the cache.

   Built as a plain shared library and called through ctypes (kernel.py), which releases the GIL. Rows are decoded one by
   one; each output row pulls the input rows it is a weighted mean of, and is then reduced across. Nothing here trusts
   the bytes: libjpeg reports through `fail` and every picture that is out of the ordinary is left to the caller. */

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef float pixel __attribute__((vector_size(16))); /* R, G, B and one unused, X */

enum filter { AREA, BILINEAR, BICUBIC };
enum status { DECODED, UNUSUAL };

/* How one axis is resized: output i is the mean of `count[i]` inputs from `first[i]`, weighted by `weights[i * most]`. */
struct taps {
    int most;
    int *first, *count;
    float *weights;
};

struct errors {
    struct jpeg_error_mgr base;
    jmp_buf escape;
};

static void fail(j_common_ptr jpeg) { longjmp(((struct errors *)jpeg->err)->escape, 1); }

static void stay_silent(j_common_ptr jpeg) { (void)jpeg; }

static double triangle(double x) { return fmax(0, 1 - fabs(x)); }

/* Keys' cubic with a = -0.5, as Pillow and torch's antialiased bicubic have it. */
static double cubic(double x) {
    x = fabs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
    return 0;
}

static void free_taps(struct taps *taps) {
    free(taps->first), free(taps->count), free(taps->weights);
}

/* The taps that turn the `length` inputs from `start` into `size` outputs. `shrink` says that both axes get smaller:
   where one grows, "area" means what it means in OpenCV, linear interpolation of the two input pixels that an output
   touches. Returns 0 if there is no memory. */
static int make_taps(struct taps *taps, int filter, int shrink, int start, int length, int size) {
    const double scale = (double)length / size, wide = fmax(scale, 1);
    const double support = filter == BICUBIC ? 2 * wide : filter == BILINEAR ? wide : scale / 2;
    taps->most = (int)ceil(2 * support) + 1;
    taps->first = malloc(size * sizeof(int));
    taps->count = malloc(size * sizeof(int));
    taps->weights = malloc((size_t)size * taps->most * sizeof(float));
    if (!taps->first || !taps->count || !taps->weights) return 0;
    for (int i = 0; i < size; i++) {
        float *weights = taps->weights + (size_t)i * taps->most;
        int first, stop;
        double total = 0;
        if (filter == AREA && !shrink) {
            first = (int)((int64_t)i * length / size); /* in integers: OpenCV's rounding can hit the next pixel */
            const int64_t over = (int64_t)(i + 1) * length - (int64_t)(first + 1) * size;
            const double next = over > 0 && first + 1 < length ? (double)over / length : 0;
            weights[0] = 1 - next, weights[1] = next;
            stop = first + 1 + (next > 0);
            total = 1;
        } else {
            const double middle = (i + 0.5) * scale;
            first = (int)fmax(0, filter == AREA ? floor(middle - support + 1e-6) : floor(middle - support + 0.5));
            stop = (int)fmin(length, filter == AREA ? ceil(middle + support - 1e-6) : floor(middle + support + 0.5));
            for (int j = first; j < stop; j++) {
                double weight = filter == AREA ? fmin(j + 1, middle + support) - fmax(j, middle - support)
                                               : (filter == BICUBIC ? cubic : triangle)((j + 0.5 - middle) / wide);
                total += weights[j - first] = weight;
            }
        }
        for (int j = 0; j < taps->most; j++) weights[j] = j < stop - first ? weights[j] / total : 0;
        taps->first[i] = start + first;
        taps->count[i] = stop - first;
    }
    return 1;
}

/* sums[x] (+)= weight * row[x] for `n` values */
static void add_row(float *restrict sums, const uint8_t *restrict row, float weight, int n, int fresh) {
    if (fresh)
        for (int x = 0; x < n; x++) sums[x] = weight * row[x];
    else
        for (int x = 0; x < n; x++) sums[x] += weight * row[x];
}

/* The four values as bytes, cut off at 0 and 255. */
static inline uint32_t bytes_of(pixel values) {
#ifdef __SSE2__
    const __m128i whole = _mm_cvttps_epi32((__m128)values), half = _mm_packs_epi32(whole, whole);
    return (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(half, half));
#else
    uint8_t bytes[4];
    for (int c = 0; c < 4; c++) bytes[c] = values[c] < 0 ? 0 : values[c] > 255 ? 255 : (uint8_t)values[c];
    uint32_t all;
    memcpy(&all, bytes, 4);
    return all;
#endif
}

/* One output row of RGB from a row of sums. `most` taps for each: a count that varied would be mispredicted, and one
   that is a constant where this is inlined is unrolled. Mirrored, a pixel is X, R, G, B, otherwise R, G, B, X: its X
   falls where the next pixel goes. */
static inline __attribute__((always_inline)) void reduce(uint8_t *restrict out, const pixel *restrict sums,
                                                         const struct taps *taps, int size, int flip, const int most) {
    const float *restrict weights = taps->weights;
    const int step = flip ? -3 : 3;
    if (flip) out += 3 * (size - 1);
    for (int i = 0; i < size; i++, out += step, weights += most) {
        const pixel *from = sums + taps->first[i];
        pixel sum = {0.5f, 0.5f, 0.5f, 0.5f};
        for (int j = 0; j < most; j++) sum += weights[j] * from[j];
        const uint32_t bytes = bytes_of(sum);
        if (i + 1 < size) memcpy(out - flip, &bytes, 4);
        else memcpy(out, (const uint8_t *)&bytes + flip, 3); /* what comes next is not of this row */
    }
}

static void reduce_across(uint8_t *out, const pixel *sums, const struct taps *taps, int size, int flip) {
    switch (taps->most) {
    case 2: reduce(out, sums, taps, size, flip, 2); break;
    case 3: reduce(out, sums, taps, size, flip, 3); break;
    case 4: reduce(out, sums, taps, size, flip, 4); break;
    case 5: reduce(out, sums, taps, size, flip, 5); break;
    case 6: reduce(out, sums, taps, size, flip, 6); break;
    case 7: reduce(out, sums, taps, size, flip, 7); break;
    default: reduce(out, sums, taps, size, flip, taps->most);
    }
}

/* What a picture's decoding holds beside libjpeg's own memory; freed after it, errors or not. */
struct work {
    struct taps down, across;
    uint8_t *rows;
    float *sums;
};

/* Decode the box (top, left, height, width) of `jpeg`, resize it to size x size and write it to `out`. */
static int cut_and_resize(struct jpeg_decompress_struct *jpeg, struct work *work, const uint8_t *bytes, uint64_t length,
                          const int *shape, const int *box, int flip, int filter, uint8_t *out, int size) {
    const int top = box[0], left = box[1], height = box[2], width = box[3];
    if (top < 0 || left < 0 || height < 1 || width < 1 || height > shape[0] - top || width > shape[1] - left)
        return UNUSUAL;
    jpeg_mem_src(jpeg, bytes, length);
    if (jpeg_read_header(jpeg, TRUE) != JPEG_HEADER_OK) return UNUSUAL;
    if ((int)jpeg->image_height != shape[0] || (int)jpeg->image_width != shape[1] || jpeg_has_multiple_scans(jpeg) ||
        (jpeg->jpeg_color_space != JCS_YCbCr && jpeg->jpeg_color_space != JCS_GRAYSCALE &&
         jpeg->jpeg_color_space != JCS_RGB))
        return UNUSUAL;
    jpeg->out_color_space = flip ? JCS_EXT_XRGB : JCS_EXT_RGBX;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(jpeg);

    /* Chroma is upsampled from its neighbours, so decode a pixel more on each side; libjpeg adds what fills a block. */
    JDIMENSION from = left > 0 ? left - 1 : 0;
    JDIMENSION across = (left + width + 2 < shape[1] ? left + width + 2 : shape[1]) - from;
    jpeg_crop_scanline(jpeg, &from, &across);
    const int begin = left - from; /* of the box in a decoded row */
    const int shrink = height >= size && width >= size;
    if (!make_taps(&work->down, filter, shrink, top, height, size)) return UNUSUAL;
    if (!make_taps(&work->across, filter, shrink, 0, width, size)) return UNUSUAL;
    const int slots = work->down.most + 1;
    const size_t pitch = (size_t)jpeg->output_width * 4;
    work->rows = malloc(slots * pitch);
    work->sums = aligned_alloc(64, ((size_t)(width + work->across.most) * sizeof(pixel) + 63) / 64 * 64);
    if (!work->rows || !work->sums) return UNUSUAL;

    memset(work->sums, 0, (size_t)(width + work->across.most) * sizeof(pixel));
    if (top > 0 && jpeg_skip_scanlines(jpeg, top) != (JDIMENSION)top) return UNUSUAL;
    for (int i = 0; i < size; i++) {
        const int first = work->down.first[i], stop = first + work->down.count[i];
        while ((int)jpeg->output_scanline < stop) {
            JSAMPROW row = work->rows + jpeg->output_scanline % slots * pitch;
            if (jpeg_read_scanlines(jpeg, &row, 1) != 1) return UNUSUAL;
        }
        for (int y = first; y < stop; y++)
            add_row(work->sums, work->rows + y % slots * pitch + 4 * begin,
                    work->down.weights[(size_t)i * work->down.most + y - first], 4 * width, y == first);
        reduce_across(out + (size_t)i * size * 3, (pixel *)work->sums, &work->across, size, flip);
    }
    return jpeg->err->num_warnings ? UNUSUAL : DECODED;
}

/* The same, where an error of libjpeg makes the picture an unusual one. */
static int guarded(struct jpeg_decompress_struct *jpeg, struct work *work, const uint8_t *bytes, uint64_t length,
                   const int *shape, const int *box, int flip, int filter, uint8_t *out, int size) {
    if (setjmp(((struct errors *)jpeg->err)->escape)) return UNUSUAL;
    return cut_and_resize(jpeg, work, bytes, length, shape, box, flip, filter, out, size);
}

/* Decode `count` pictures. `shapes` are the heights and widths they must have, int32 [count, 2]; `boxes` int32
   [count, 4] (top, left, height, width) lie within them; `outs[k]` is uint8 [size, size, 3]. `statuses[k]` is 0 if
   picture k was decoded; otherwise its output holds nothing of use and the caller should look closer. */
void fastpt_decode(int count, const uint8_t **jpegs, const uint64_t *lengths, const int *shapes, const int *boxes,
                   const uint8_t *flips, int filter, int size, uint8_t **outs, uint8_t *statuses) {
    struct jpeg_decompress_struct jpeg;
    struct errors errors;
    jpeg.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = fail;
    errors.base.output_message = stay_silent;
    memset(statuses, UNUSUAL, count);
    if (setjmp(errors.escape)) return; /* no memory for a decompressor */
    jpeg_create_decompress(&jpeg);
    for (int k = 0; k < count; k++) {
        struct work work = {0};
        statuses[k] = guarded(&jpeg, &work, jpegs[k], lengths[k], shapes + 2 * k, boxes + 4 * k, flips[k], filter,
                              outs[k], size);
        free_taps(&work.down), free_taps(&work.across), free(work.rows), free(work.sums);
        jpeg_abort_decompress(&jpeg);
    }
    jpeg_destroy_decompress(&jpeg);
}

/* The same for one picture, with what a thread keeps from one to the next. */
struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct errors errors;
};

void fastpt_decoder_free(struct decoder *decoder) {
    jpeg_destroy_decompress(&decoder->jpeg);
    free(decoder);
}

struct decoder *fastpt_decoder_new(void) {
    struct decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder) return NULL;
    decoder->jpeg.err = jpeg_std_error(&decoder->errors.base);
    decoder->errors.base.error_exit = fail;
    decoder->errors.base.output_message = stay_silent;
    if (setjmp(decoder->errors.escape)) { /* no memory for a decompressor */
        free(decoder);
        return NULL;
    }
    jpeg_create_decompress(&decoder->jpeg);
    return decoder;
}

int fastpt_decode_one(struct decoder *decoder, const uint8_t *jpeg, uint64_t length, const int32_t shape[2],
                      const int32_t box[4], int flip, int filter, int size, uint8_t *out) {
    struct work work = {0};
    const int status = guarded(&decoder->jpeg, &work, jpeg, length, shape, box, flip, filter, out, size);
    free_taps(&work.down), free_taps(&work.across), free(work.rows), free(work.sums);
    jpeg_abort_decompress(&decoder->jpeg);
    return status;
}

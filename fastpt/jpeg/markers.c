/* The headers of JPEGs, as markers.h has it, and the sizes of frames. */

#include "markers.h"

#include <string.h>

static int sixteen(const uint8_t *bytes) { return bytes[0] << 8 | bytes[1]; }

size_t segment_length(const uint8_t *at, size_t left) {
    if (left < 4 || at[0] != 0xff || at[1] < 0xc0 || at[1] == 0xff || at[1] == 0xda) return 0;
    const size_t length = 2 + sixteen(at + 2);
    return length >= 4 && length <= left ? length : 0;
}

int is_ours(const uint8_t *at, size_t length) {
    return at[1] == 0xe9 && length >= 4 + sizeof NAME && !memcmp(at + 4, NAME, sizeof NAME);
}

/* The segments before the scan; each returns whether it is an ordinary one. `body` has `length` bytes. */

static int read_huffman(struct jpeg *jpeg, const uint8_t *body, int length) {
    while (length) {
        int total = 0;
        if (length < 17 || body[0] & ~0x13) return 0; /* class 0 or 1, number 0 to 3 */
        for (int i = 1; i <= 16; i++) total += body[i];
        if (total > 256 || length < 17 + total) return 0;
        jpeg->huffman[body[0] >> 4][body[0] & 3] = (struct huffman){body + 1, body + 17};
        body += 17 + total, length -= 17 + total;
    }
    return 1;
}

static int read_quantisation(struct jpeg *jpeg, const uint8_t *body, int length) {
    while (length) {
        if (body[0] & ~0x13) return 0; /* 8 or 16 bits, number 0 to 3 */
        const int wide = body[0] >> 4, number = body[0] & 3, size = 1 + (wide ? 128 : 64);
        if (length < size) return 0;
        for (int k = 0; k < 64; k++) jpeg->quantisation[number][k] = wide ? sixteen(body + 1 + 2 * k) : body[1 + k];
        jpeg->quantised |= 1 << number;
        body += size, length -= size;
    }
    return 1;
}

static int read_frame(struct jpeg *jpeg, const uint8_t *body, int length) {
    if (jpeg->component_count || length < 6 || body[0] != 8) return 0;
    const int count = body[5];
    jpeg->height = sixteen(body + 1), jpeg->width = sixteen(body + 3);
    if ((count != 1 && count != 3) || length != 6 + 3 * count) return 0;
    if (jpeg->width < 1 || jpeg->height < 1 || jpeg->width > 65500 || jpeg->height > 65500) return 0; /* libjpeg's limit */
    for (int i = 0; i < count; i++) {
        const uint8_t *one = body + 6 + 3 * i;
        const int h = one[1] >> 4, v = one[1] & 15;
        if (count == 3 && one[0] != i + 1) return 0; /* so it is YCbCr by its numbers too */
        if (i == 0 ? (h != 1 && h != 2 && h != 4) || (v != 1 && v != 2) : one[1] != 0x11) return 0;
        if (one[2] > 3) return 0;
        /* One component alone is not interleaved: each of its blocks is an MCU. */
        jpeg->components[i] = (struct component){one[0], count == 1 ? 1 : h, count == 1 ? 1 : v, one[2], 0, 0};
    }
    const int h = jpeg->components[0].h, v = jpeg->components[0].v;
    jpeg->across = (jpeg->width + 8 * h - 1) / (8 * h), jpeg->down = (jpeg->height + 8 * v - 1) / (8 * v);
    if ((int64_t)jpeg->across * jpeg->down * (h * v) > MOST_BLOCKS) return 0;
    jpeg->component_count = count;
    return 1;
}

static int read_scan(struct jpeg *jpeg, const uint8_t *body, int length) {
    const int count = jpeg->component_count;
    if (!count || length != 4 + 2 * count || body[0] != count) return 0;
    for (int i = 0; i < count; i++) {
        struct component *component = &jpeg->components[i];
        component->dc = body[2 + 2 * i] >> 4, component->ac = body[2 + 2 * i] & 15;
        if (body[1 + 2 * i] != component->id || component->dc > 3 || component->ac > 3) return 0;
        if (!(jpeg->quantised >> component->quantisation & 1)) return 0;
        if (!jpeg->huffman[DC][component->dc].counts || !jpeg->huffman[AC][component->ac].counts) return 0;
    }
    const uint8_t *rest = body + 1 + 2 * count; /* all 64 coefficients, at full precision */
    return rest[0] == 0 && rest[1] == 63 && rest[2] == 0;
}

static int read_segment(struct jpeg *jpeg, int marker, const uint8_t *body, int length) {
    switch (marker) {
    case 0xc0: case 0xc1: return read_frame(jpeg, body, length);
    case 0xc4: return read_huffman(jpeg, body, length);
    case 0xdb: return read_quantisation(jpeg, body, length);
    case 0xda: return read_scan(jpeg, body, length);
    case 0xdd:
        if (length == 2) jpeg->restart_interval = sixteen(body);
        return length == 2;
    case 0xe0: return length < 6 || memcmp(body, "JFIF", 5) || body[5] == 1; /* libjpeg warns of other versions */
    case 0xe9:
        if (!jpeg->entries && is_ours(body - 4, 4 + length))
            jpeg->entries = body + sizeof NAME, jpeg->entries_length = length - sizeof NAME;
        return 1;
    case 0xee: return length < 12 || memcmp(body, "Adobe", 5) || body[11] == 1; /* says that it is YCbCr */
    default: return (marker > 0xe0 && marker < 0xf0) || marker == 0xfe; /* applications' data, comments */
    }
}

int read_headers(struct jpeg *jpeg, const uint8_t *data, size_t length) {
    memset(jpeg, 0, sizeof *jpeg);
    jpeg->data = data, jpeg->length = length;
    if (length < 4 || data[0] != 0xff || data[1] != 0xd8) return 0;
    size_t at = 2;
    for (int marker = 0; marker != 0xda;) {
        if (length - at < 4 || data[at] != 0xff) return 0;
        marker = data[at + 1];
        const int size = sixteen(data + at + 2);
        if (size < 2 || length - at - 2 < (size_t)size) return 0;
        if (!read_segment(jpeg, marker, data + at + 4, size - 2)) return 0;
        at += 2 + size;
    }
    jpeg->scan = at;
    return 1;
}

/* Height and width that the frame header of each JPEG, of any kind, states, int32 [count, 2]; 0 and 0 where there is none,
   or no scan behind it: DALI's parser fails there, and may end the process (2.4.0: tasks of the batch outlive it). */
void fastpt_frame_sizes(int count, const uint8_t **jpegs, const uint64_t *lengths, int *sizes) {
    for (int k = 0; k < count; k++) {
        const uint8_t *data = jpegs[k];
        const size_t length = lengths[k];
        int height = 0, width = 0;
        sizes[2 * k] = sizes[2 * k + 1] = 0;
        if (length < 4 || data[0] != 0xff || data[1] != 0xd8) continue;
        for (size_t at = 2; length - at >= 4 && data[at] == 0xff;) {
            const int marker = data[at + 1], size = sixteen(data + at + 2);
            if (marker == 0xff) { /* filling */
                at++;
                continue;
            }
            if (size < 2 || length - at - 2 < (size_t)size) break;
            if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc && !height) {
                if (size < 7) break;
                height = sixteen(data + at + 5), width = sixteen(data + at + 7);
            }
            if (marker == 0xda) sizes[2 * k] = height, sizes[2 * k + 1] = width;
            if (marker == 0xd8 || marker == 0xd9 || marker == 0xda) break;
            at += 2 + size;
        }
    }
}

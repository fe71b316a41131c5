/* The segment of entry points, written and read, as entries.h has it. */

#include "entries.h"

#include <string.h>

#define VERSION 1
#define BEFORE 14 /* bytes before the changes: marker, length, name, version, spacing */

static uint32_t zigzag(int32_t change) { return (uint32_t)change << 1 ^ (uint32_t)(change >> 31); }

static int32_t unzigzag(uint32_t number) { return (int32_t)(number >> 1 ^ -(number & 1)); }

static uint8_t *put(uint8_t *to, uint32_t number) {
    for (; number >= 0x80; number >>= 7) *to++ = number | 0x80;
    *to++ = number;
    return to;
}

/* Returns where the number ends, or NULL if it does not end before `end`, or is one of more than 32 bits. */
static const uint8_t *get(const uint8_t *from, const uint8_t *end, uint32_t *number) {
    *number = 0;
    for (int shift = 0; from < end && shift < 32; shift += 7) {
        const uint32_t byte = *from++;
        if (shift == 28 && byte > 15) return NULL;
        *number |= (byte & 0x7f) << shift;
        if (byte < 0x80) return from;
    }
    return NULL;
}

int entry_spacing(const struct jpeg *jpeg) {
    if (!jpeg->entries || jpeg->entries_length < 3 || jpeg->entries[0] != VERSION || jpeg->restart_interval) return 0;
    return jpeg->entries[1] | jpeg->entries[2] << 8;
}

int read_entries(const struct jpeg *jpeg, int count, struct entry *entries) {
    const uint8_t *from = jpeg->entries + 3, *end = jpeg->entries + jpeg->entries_length;
    const uint64_t bits = 8 * (uint64_t)(jpeg->length - jpeg->scan);
    if (count > 0) entries[0] = (struct entry){0};
    for (int i = 1; i < count; i++) {
        const struct entry *before = &entries[i - 1];
        uint32_t change;
        if (!(from = get(from, end, &change))) return 0;
        const uint64_t place = (uint64_t)before->place + change;
        if (!change || place >= bits || place > UINT32_MAX) return 0;
        entries[i] = (struct entry){.place = place};
        for (int c = 0; c < jpeg->component_count; c++) {
            if (!(from = get(from, end, &change))) return 0;
            entries[i].dc[c] = (int32_t)((uint32_t)before->dc[c] + (uint32_t)unzigzag(change));
        }
    }
    return 1;
}

/* The changes between every `step`th of the entries of each row, or NULL if they do not fit before `end`. */
static uint8_t *put_changes(const struct jpeg *jpeg, const struct entry *entries, int step, uint8_t *to, uint8_t *end) {
    const int noted = entries_a_row(jpeg, CLOSEST);
    const struct entry *before = entries;
    for (int row = 0; row < jpeg->down; row++)
        for (int i = row ? 0 : step; i < noted; i += step) {
            const struct entry *entry = entries + (size_t)row * noted + i;
            if (end - to < 4 * 5) return NULL; /* four numbers of at most five bytes */
            to = put(to, entry->place - before->place);
            for (int c = 0; c < jpeg->component_count; c++) to = put(to, zigzag(entry->dc[c] - before->dc[c]));
            before = entry;
        }
    return to;
}

int write_entries(const struct jpeg *jpeg, const struct entry *entries, uint8_t segment[LARGEST_SEGMENT]) {
    for (int step = 1; step < 2 * entries_a_row(jpeg, CLOSEST); step *= 2) {
        const uint8_t *end = put_changes(jpeg, entries, step, segment + BEFORE, segment + LARGEST_SEGMENT);
        if (!end) continue;
        const int size = end - segment, spacing = CLOSEST * step;
        const uint8_t head[] = {0xff, 0xe9, (size - 2) >> 8, size - 2};
        memcpy(segment, head, 4);
        memcpy(segment + 4, NAME, sizeof NAME);
        segment[11] = VERSION, segment[12] = spacing, segment[13] = spacing >> 8;
        return size;
    }
    return 0;
}

static uint8_t *copy(const uint8_t *from, size_t size, uint8_t *to) { return memcpy(to, from, size), to + size; }

size_t replace_entries(const uint8_t *data, size_t length, const uint8_t *segment, int size, uint8_t *out) {
    size_t at = length < 2 ? length : 2;
    uint8_t *to = copy(data, at, out);
    int placed = 0;
    for (size_t piece; (piece = segment_length(data + at, length - at)); at += piece) {
        if (is_ours(data + at, piece)) continue;
        if (!placed && data[at + 1] != 0xe0) to = copy(segment, size, to), placed = 1;
        to = copy(data + at, piece, to);
    }
    if (!placed) to = copy(segment, size, to);
    return copy(data + at, length - at, to) - out;
}

/* Read the entries of a JPEG into `entries`, which has room for `most`. Returns how many there are and their `spacing`, or 0:
   it has none, or more than `most`, or wrong ones. */
int fastpt_read_entries(const uint8_t *data, size_t length, int most, struct entry *entries, int *spacing) {
    struct jpeg jpeg;
    *spacing = read_headers(&jpeg, data, length) ? entry_spacing(&jpeg) : 0;
    if (!*spacing) return 0;
    const int count = jpeg.down * entries_a_row(&jpeg, *spacing);
    return count <= most && read_entries(&jpeg, count, entries) ? count : 0;
}

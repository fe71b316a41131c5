#include "pictures.h"

#include <errno.h>
#include <sys/types.h>
#include <unistd.h>

static enum result read_whole(int file, uint64_t offset, uint64_t size, uint8_t *out) {
    uint64_t done = 0;
    while (done < size) {
        const ssize_t got = pread(file, out + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got < 0 ? UNREADABLE : SHORT;
        done += (uint64_t)got;
    }
    return GOOD;
}

enum result fastpt_read_picture(const struct pictures *pictures, int64_t id, uint8_t *out) {
    const uint32_t shard =
        pictures->wide ? ((const uint32_t *)pictures->shard)[id] : ((const uint16_t *)pictures->shard)[id];
    const uint64_t size = pictures->size[id], known = pictures->xxh3[id];
    const uint8_t *const jpeg = out;
    const enum result result = read_whole(pictures->files[shard], pictures->offset[id], size, out);
    if (result != GOOD) return result;
    if (known && pictures->checksum(jpeg, size) != known) return DAMAGED;
    int32_t shape[2];
    pictures->frame_sizes(1, &jpeg, &size, shape);
    return shape[0] == pictures->height[id] && shape[1] == pictures->width[id] ? GOOD : DAMAGED;
}

/* Read and check `count` pictures, the k-th to `memory + starts[k]`: one call, so that Python's lock is let go once and
   not once a picture. */
void fastpt_read(const struct pictures *pictures, int count, const int64_t *ids, const uint64_t *starts,
                 uint8_t *memory, uint8_t *results) {
    for (int k = 0; k < count; k++) results[k] = fastpt_read_picture(pictures, ids[k], memory + starts[k]);
}

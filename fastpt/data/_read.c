/* Reads many pieces of files in one call, so that Python's lock is let go once and not once a piece. */

#include <errno.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

/* Read `count` pieces, `sizes[k]` bytes at `offsets[k]` of the open file `files[k]`, one behind another into `out`.
   Returns how many came whole; the piece after those cannot be read, or its file is too short. */
int fastpt_read(int count, const int32_t *files, const uint64_t *offsets, const uint64_t *sizes, uint8_t *out) {
    for (int k = 0; k < count; k++) {
        uint64_t done = 0;
        while (done < sizes[k]) {
            const ssize_t got = pread(files[k], out + done, sizes[k] - done, (off_t)(offsets[k] + done));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return k;
            done += (uint64_t)got;
        }
        out += sizes[k];
    }
    return count;
}

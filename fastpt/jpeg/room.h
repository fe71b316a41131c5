/* Memory that is used again for each picture. */

#ifndef FASTPT_ROOM_H
#define FASTPT_ROOM_H

#include <stdlib.h>
#include <string.h>

struct room {
    void *bytes;
    size_t size;
};

/* At least `size` bytes, aligned to 64; NULL if there is no memory. It grows when more is asked for than it has: what it
   held is then lost, and what is new is 0. */
static inline void *room_for(struct room *room, size_t size) {
    if (room->size < size) {
        free(room->bytes);
        room->size = (size + size / 4 + 63) / 64 * 64;
        room->bytes = aligned_alloc(64, room->size);
        if (!room->bytes) return room->size = 0, NULL;
        memset(room->bytes, 0, room->size);
    }
    return room->bytes;
}

#endif

/* Goes through all entropy-coded data of a JPEG: is it whole, and where may a decoder enter it? */

#ifndef FASTPT_WALK_H
#define FASTPT_WALK_H

#include "entries.h"
#include "markers.h"
#include "room.h"

/* What a walk needs, to be freed by whoever has it. */
struct walk_rooms {
    struct room bytes, starts;
};

/* Whether the JPEG of these headers is sound (walk.c). If it is, and `entries` is not NULL, its entry points go there,
   CLOSEST apart; it may have no restart intervals then. */
int walk_jpeg(const struct jpeg *jpeg, struct walk_rooms *rooms, struct entry *entries);

#endif

/* One pool of threads for all batches in work. Each picture is read, checked (pictures.h) and decoded by one thread, and
   handed out by one atomic word, so no thread idles at the end of a batch while another batch has pictures left.

   Nothing of Python is called or touched from these threads. They block all signals, which are the main thread's. */

#define _GNU_SOURCE /* pthread_setname_np */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "../data/pictures.h"

enum { RING = 8 }; /* batches that may be in work at once; a power of two */

/* How a checked JPEG becomes a picture: the crop decoder's three functions (fastpt/jpeg), or none, for who wants the
   JPEGs themselves. Others than 0 of `decode` mean that it leaves the picture. */
struct decoding {
    void *(*new)(void);
    void (*free)(void *decoder);
    /* 0: it is decoded; 2: it is, though its entry points do not fit its data; else it is left to another decoder. */
    int (*decode)(void *decoder, const uint8_t *jpeg, uint64_t length, const int32_t shape[2], const int32_t box[4],
                  int flip, int filter, int size, uint8_t *out);
    int32_t filter, size;
};

struct batch {
    _Atomic int32_t count, left; /* pictures; those that are not done */
    const int64_t *ids;          /* [count] */
    const int32_t *boxes;        /* [count, 4]: top, left, height, width */
    const uint8_t *flips;        /* [count] */
    const uint64_t *starts;      /* [count], where each JPEG goes in `out`; NULL if `out` gets pictures */
    uint8_t *out;                /* JPEGs, or pictures [count, size, size, 3] */
    uint8_t *results;            /* [count], enum result */
};

struct pool {
    struct pictures pictures;
    struct decoding decoding;
    struct batch ring[RING];
    _Atomic uint64_t next;      /* number of a batch << 32 | number in it of the picture that is handed out next */
    _Atomic uint32_t submitted; /* batches */
    _Atomic int stop;
    pthread_mutex_t lock;       /* of the two conditions */
    pthread_cond_t more, done;  /* there is a batch, or the end; a batch is done */
    int threads;
    pthread_t thread[];
};

/* Take the next picture: its batch, and in `k` its number. Waits where there is none; NULL at the end. */
static struct batch *take(struct pool *pool, int32_t *k) {
    uint64_t next = atomic_load(&pool->next);
    for (;;) {
        const uint32_t number = (uint32_t)(next >> 32);
        if (atomic_load(&pool->stop)) return NULL;
        if (number == atomic_load(&pool->submitted)) {
            pthread_mutex_lock(&pool->lock);
            while (number == atomic_load(&pool->submitted) && !atomic_load(&pool->stop))
                pthread_cond_wait(&pool->more, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
            next = atomic_load(&pool->next);
            continue;
        }
        struct batch *batch = &pool->ring[number % RING];
        *k = (int32_t)(uint32_t)next;
        /* Were the batch no longer this one, `next` would have moved on, and the exchange fails. */
        const uint64_t after = *k + 1 < atomic_load(&batch->count) ? next + 1 : (uint64_t)(number + 1) << 32;
        if (atomic_compare_exchange_weak(&pool->next, &next, after)) return batch;
    }
}

/* What a thread holds from picture to picture. */
struct worker {
    void *decoder;
    uint8_t *jpeg;
    uint64_t room; /* bytes of `jpeg` */
};

static uint8_t *room_for(struct worker *worker, uint64_t size) {
    if (size > worker->room) {
        free(worker->jpeg);
        worker->jpeg = malloc(size);
        worker->room = worker->jpeg ? size : 0;
    }
    return worker->jpeg;
}

static enum result make(const struct pool *pool, struct worker *worker, const struct batch *batch, int32_t k) {
    const struct decoding *decoding = &pool->decoding;
    const int64_t id = batch->ids[k];
    const uint64_t length = pool->pictures.size[id];
    uint8_t *jpeg = batch->starts ? batch->out + batch->starts[k] : room_for(worker, length);
    if (!jpeg) return LEFT;
    const enum result result = fastpt_read_picture(&pool->pictures, id, jpeg);
    if (result != GOOD || batch->starts || !decoding->decode) return result;
    if (!worker->decoder && !(worker->decoder = decoding->new())) return LEFT;
    const int32_t shape[2] = {pool->pictures.height[id], pool->pictures.width[id]};
    uint8_t *picture = batch->out + (size_t)k * decoding->size * decoding->size * 3;
    switch (decoding->decode(worker->decoder, jpeg, length, shape, batch->boxes + 4 * k, batch->flips[k], decoding->filter,
                             decoding->size, picture)) {
    case 0: return GOOD;
    case 2: return MISLED;
    default: return LEFT;
    }
}

static void *work(void *argument) {
    struct pool *pool = argument;
    struct worker worker = {0};
    struct batch *batch;
    int32_t k;
    while ((batch = take(pool, &k))) {
        batch->results[k] = (uint8_t)make(pool, &worker, batch, k);
        if (atomic_fetch_sub(&batch->left, 1) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_broadcast(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
    if (worker.decoder) pool->decoding.free(worker.decoder);
    free(worker.jpeg);
    return NULL;
}

/* End the threads, each after the picture that it is at, and free the pool. */
void fastpt_pool_free(struct pool *pool) {
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, 1);
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->threads; i++) pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->more), pthread_cond_destroy(&pool->done), pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* A pool of up to `threads` threads, fewer if the machine gives no more; NULL if it gives none. What `pictures` points
   to, and later what batches point to, has to stay until the pool is freed. */
struct pool *fastpt_pool_new(const struct pictures *pictures, const struct decoding *decoding, int threads) {
    struct pool *pool = calloc(1, sizeof *pool + threads * sizeof *pool->thread);
    if (!pool) return NULL;
    pool->pictures = *pictures, pool->decoding = *decoding;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL), pthread_cond_init(&pool->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* the threads inherit it */
    while (pool->threads < threads && !pthread_create(&pool->thread[pool->threads], NULL, work, pool))
        pthread_setname_np(pool->thread[pool->threads++], "fastpt-batches"); /* here: on a busy machine it runs later */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pool->threads) return pool;
    fastpt_pool_free(pool);
    return NULL;
}

/* Put a batch to work; `count` is at least 1. Returns its number, or -1 if RING batches are in work already. One
   thread at a time. */
int64_t fastpt_pool_submit(struct pool *pool, int32_t count, const int64_t *ids, const int32_t *boxes,
                           const uint8_t *flips, const uint64_t *starts, uint8_t *out, uint8_t *results) {
    const uint32_t number = atomic_load(&pool->submitted);
    struct batch *batch = &pool->ring[number % RING];
    if (atomic_load(&batch->left)) return -1;
    batch->ids = ids, batch->boxes = boxes, batch->flips = flips, batch->starts = starts;
    batch->out = out, batch->results = results;
    atomic_store(&batch->count, count), atomic_store(&batch->left, count);
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->submitted, number + 1);
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    return number;
}

/* Wait for a batch, `milliseconds` at most. Returns whether it is done. */
int fastpt_pool_wait(struct pool *pool, uint32_t number, int milliseconds) {
    struct batch *batch = &pool->ring[number % RING];
    if (milliseconds > 0 && atomic_load(&batch->left)) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        const int64_t nanoseconds = until.tv_nsec + (int64_t)milliseconds * 1000000;
        until.tv_sec += nanoseconds / 1000000000, until.tv_nsec = nanoseconds % 1000000000;
        pthread_mutex_lock(&pool->lock);
        while (atomic_load(&batch->left) && pthread_cond_timedwait(&pool->done, &pool->lock, &until) != ETIMEDOUT) {
        }
        pthread_mutex_unlock(&pool->lock);
    }
    return atomic_load(&batch->left) == 0;
}

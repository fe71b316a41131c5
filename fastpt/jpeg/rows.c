/* From the headers to blocks, as rows.h has it: entry points, tables, memory, entropy-coded data. */

#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "decode.h"

/* --- the level --------------------------------------------------------------------------------------------------- */

static const struct level *level = &plain_level;

int fastpt_decoder_level(int number) {
    switch (number) {
    case 0: level = &plain_level; return 1;
#ifdef __SSE2__
    case 1: level = &sse2_level; return 1;
#endif
#ifdef HAVE_AVX2
    case 2:
        if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2")) return 0;
        level = &avx2_level;
        return 1;
#endif
    default: return 0;
    }
}

const struct level *level_in_use(void) { return level; }

const char *fastpt_decoder_name(void) { return level->name; }

/* When the library is loaded, before there is a thread that decodes. */
static __attribute__((constructor)) void choose_level(void) {
    for (int number = 2; !fastpt_decoder_level(number); number--) continue;
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

struct decoder *fastpt_decoder_new(void) { return calloc(1, sizeof(struct decoder)); }

void fastpt_decoder_free(struct decoder *decoder) {
    struct room *rooms[] = {&decoder->entries, &decoder->bytes, &decoder->blocks,
                            &decoder->strip,   &decoder->rings, &decoder->taps,         &decoder->lines,
                            &decoder->walk.bytes, &decoder->walk.starts};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) free(rooms[i]->bytes);
    free(decoder);
}

/* --- preparations ------------------------------------------------------------------------------------------------- */

static const uint8_t zigzag[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
                                   41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
                                   30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

static int prepare_tables(struct decoder *decoder, struct rows *rows) {
    const struct jpeg *jpeg = &rows->jpeg;
    struct mcu *mcu = &rows->mcu;
    mcu->blocks = 0;
    for (int c = 0; c < jpeg->component_count; c++) {
        const struct component *component = &jpeg->components[c];
        struct symbol_table *dc = &decoder->tables[DC][component->dc], *ac = &decoder->tables[AC][component->ac];
        if (!make_symbol_table(dc, DC, &jpeg->huffman[DC][component->dc])) return 0;
        if (!make_symbol_table(ac, AC, &jpeg->huffman[AC][component->ac])) return 0;
        for (int i = 0; i < component->h * component->v; i++, mcu->blocks++)
            mcu->component[mcu->blocks] = c, mcu->dc[mcu->blocks] = dc->look, mcu->ac[mcu->blocks] = ac->look;
        for (int k = 0; k < 64; k++) {
            int16_t *two = rows->quantisation[c] + 16 * (zigzag[k] / 8) + zigzag[k] % 8;
            two[0] = two[8] = (int16_t)jpeg->quantisation[component->quantisation][k];
        }
    }
    return 1;
}

static int prepare_memory(struct decoder *decoder, struct rows *rows) {
    const int count = UNITS * rows->rows_a_unit;
    rows->row_size = (size_t)rows->decoded * rows->mcu.blocks;
    struct block *blocks = room_for(&decoder->blocks, count * rows->row_size * sizeof *blocks);
    if (!blocks) return 0;
    for (int i = 0; i < count; i++) {
        rows->blocks[i] = blocks;
        for (int j = 0; j < rows->decoded; j++)
            for (int k = 0; k < rows->mcu.blocks; k++, blocks++)
                blocks->ac = rows->mcu.ac[k], blocks->next = rows->mcu.dc[k + 1 < rows->mcu.blocks ? k + 1 : 0];
    }
    /* Pairs of columns: of the blocks, and those that an output looks at beyond them. */
    const size_t pairs = (size_t)rows->jpeg.components[0].h * 4 * (rows->width + 1) + MOST_TAPS / 2;
    rows->strip = room_for(&decoder->strip, pairs * 32 * sizeof(int16_t));
    return rows->strip != NULL;
}

/* The entries that it comes with, or those that a walk finds. Returns a status. */
static int find_entries(struct decoder *decoder, struct rows *rows, int trusted) {
    const struct jpeg *jpeg = &rows->jpeg;
    const int found = trusted ? entry_spacing(jpeg) : 0, last = rows->bottom < jpeg->down;
    rows->spacing = found ? found : CLOSEST;
    rows->entry_count = entries_a_row(jpeg, rows->spacing) * (found ? rows->bottom : jpeg->down) + (found && last);
    rows->entries = room_for(&decoder->entries, rows->entry_count * sizeof *rows->entries);
    if (!rows->entries || jpeg->restart_interval) return UNUSUAL;
    if (!found) return walk_jpeg(jpeg, &decoder->walk, rows->entries) ? DECODED : UNUSUAL;
    return read_entries(jpeg, rows->entry_count, rows->entries) ? DECODED : DAMAGED;
}

static int least(int a, int b) { return a < b ? a : b; }

/* Where rows begin and stop. No row is believed that passes no entry, since its own may be wrong. So each goes on to the next
   one, or to the edge, where the row below begins. Below the last row is none: it begins an entry earlier, or the row above
   is decoded too, which ends where it begins. */
static void pass_entries(struct rows *rows) {
    const int across = rows->jpeg.across, spacing = rows->spacing, entry = rows->left - rows->left % spacing;
    const int stop = rows->right > entry + spacing ? rows->right : least(entry + spacing, across);
    const int last = rows->bottom == rows->jpeg.down && stop == across;
    rows->before = rows->left - entry + (last && entry ? spacing : 0);
    rows->decoded = stop - (rows->left - rows->before);
    if (last && !entry && rows->top) rows->top = least(rows->top, rows->bottom - 2);
}

int prepare_rows(struct decoder *decoder, struct rows *rows, const int32_t box[4], int trusted) {
    const int down = 8 * rows->jpeg.components[0].v, across = 8 * rows->jpeg.components[0].h;
    rows->top = box[0] / down, rows->bottom = (box[0] + box[2] + down - 1) / down;
    rows->left = box[1] / across, rows->right = (box[1] + box[3] + across - 1) / across;
    rows->width = rows->right - rows->left, rows->rows_a_unit = 16 / down;
    const int status = find_entries(decoder, rows, trusted);
    if (status) return status;
    pass_entries(rows);
    return prepare_tables(decoder, rows) && prepare_memory(decoder, rows) ? DECODED : UNUSUAL;
}

/* --- entropy-coded data ------------------------------------------------------------------------------------------- */

/* Where a row's decoding begins, where it is checked, and where its data end. */
struct span {
    const struct entry *begin, *check; /* check: NULL if no entry is passed */
    int until;                         /* MCUs: from the first entry to the other one */
    size_t end;                        /* bytes from the scan's beginning */
};

static struct span span_of(const struct rows *rows, int row) {
    const struct jpeg *jpeg = &rows->jpeg;
    const int a_row = entries_a_row(jpeg, rows->spacing), begin = rows->left - rows->before, stop = begin + rows->decoded;
    const int to_edge = stop == jpeg->across, first = row * a_row + begin / rows->spacing;
    const int last = row * a_row + (to_edge ? a_row : stop / rows->spacing), next = last + !to_edge;
    const int check = last < rows->entry_count ? last : first + 1; /* the picture's last row passes its second one */
    struct span span = {.begin = rows->entries + first, .end = jpeg->length - jpeg->scan};
    if (check < rows->entry_count) {
        span.check = rows->entries + check;
        span.until = least((check - first) * rows->spacing, jpeg->across - begin);
    }
    if (next < rows->entry_count) { /* with the byte that the two share, and with the zero that may follow it */
        const size_t end = rows->entries[next].place / 8 + (size_t)2;
        if (end < span.end) span.end = end;
    }
    return span;
}

/* Make predictors' changes predictors, and counts of coefficients what they are; to find out whether each block was one.
   `check` has the predictors that there must be before MCU `until`, or is NULL. */
static int finish_row(const struct rows *rows, struct block *block, const struct span *span) {
    uint32_t dc[3];
    for (int c = 0; c < 3; c++) dc[c] = span->begin->dc[c];
    for (int mcu = 0; mcu < rows->decoded; mcu++) {
        if (span->check && mcu == span->until && memcmp(dc, span->check->dc, sizeof dc)) return 0;
        for (int i = 0; i < rows->mcu.blocks; i++, block++) {
            const int passed = block->passed, c = rows->mcu.component[i];
            block->passed = passed & (BLOCK_ENDS - 1);
            if (passed >= NO_CODE || block->passed > 64) return 0;
            dc[c] += (uint32_t)(int32_t)block->coefficients[0];
            block->coefficients[0] = (int16_t)dc[c];
        }
    }
    return !span->check || span->until < rows->decoded || !memcmp(dc, span->check->dc, sizeof dc);
}

int decode_rows(struct decoder *decoder, struct rows *rows, int row, int count) {
    const uint8_t *scan = rows->jpeg.data + rows->jpeg.scan;
    struct span spans[2 * UNITS];
    struct stretch stretches[2 * UNITS];
    size_t size = SPARE;
    for (int i = 0; i < count; i++) {
        spans[i] = span_of(rows, row + i);
        if (spans[i].begin->place / 8 > spans[i].end) return DAMAGED;
        size += spans[i].end - spans[i].begin->place / 8;
    }
    uint8_t *bytes = room_for(&decoder->bytes, size), *to = bytes;
    if (!bytes) return UNUSUAL;
    for (size_t k = 0; k < count * rows->row_size; k++)
        memset(rows->blocks[0][k].coefficients, 0, sizeof rows->blocks[0][k].coefficients);
    size_t check_at[2 * UNITS];
    for (int i = 0; i < count; i++) {
        const struct span *span = &spans[i];
        struct stretch *stretch = &stretches[i];
        const uint8_t *from = scan + span->begin->place / 8;
        *stretch = (struct stretch){.at = 8 * (to - bytes) + span->begin->place % 8, .block = rows->blocks[i]};
        stretch->table = rows->mcu.dc[0];
        if (span->check) {
            if (span->check->place / 8 > span->end) return DAMAGED;
            to = unstuff(&from, scan + span->check->place / 8, to);
            check_at[i] = 8 * (to - bytes) + span->check->place % 8;
        }
        to = unstuff(&from, scan + span->end, to);
        stretch->end = 8 * (to - bytes);
        stretch->stop = rows->blocks[i] + (span->check ? span->until : rows->decoded) * rows->mcu.blocks;
        stretch->near_stop = stretch->stop - NEAR_STOP;
    }
    struct stretch *work[IN_TURN];
    int busy = 0, next = 0;
    for (;;) {
        for (; busy < IN_TURN && next < count; next++) work[busy++] = &stretches[next];
        if (!busy) break;
        const int k = level->decode(work, busy, bytes), i = work[k] - stretches;
        struct stretch *stretch = work[k];
        if (stretch->at > stretch->end) return DAMAGED;
        const struct block *stop = rows->blocks[i] + rows->row_size;
        if (spans[i].check && stretch->block == rows->blocks[i] + (ptrdiff_t)spans[i].until * rows->mcu.blocks && stretch->at != check_at[i]) return DAMAGED;
        if (stretch->block == stop) work[k] = work[--busy];
        else stretch->stop = stop, stretch->near_stop = stop - NEAR_STOP;
    }
    for (int i = 0; i < count; i++)
        if (!finish_row(rows, rows->blocks[i], &spans[i])) return DAMAGED;
    return DECODED;
}

/* --- samples ------------------------------------------------------------------------------------------------------ */

void inverse(const struct rows *rows, int slot, int component, int block, int x, int half) {
    const int step = 128 * rows->jpeg.components[component].h;
    const struct block *blocks = rows->blocks[slot] + (ptrdiff_t)rows->before * rows->mcu.blocks + block;
    level->inverse(blocks, rows->width, rows->mcu.blocks, rows->quantisation[component], rows->strip + 128 * x + 8 * half, step);
}

void inverse_luma(const struct rows *rows, int slot, int count) {
    const struct component *luma = &rows->jpeg.components[0];
    for (int half = 0; half < 2; half++)
        for (int x = 0; x < luma->h; x++)
            if (luma->v == 2) inverse(rows, slot, 0, half * luma->h + x, x, half);
            else if (half < count) inverse(rows, slot + half, 0, x, x, half);
}

/* Skip tables, as huffman.h has it. */

#include "huffman.h"

#include <string.h>

static _Thread_local struct skip_table tables[2][4];

/* One symbol: its code, then bits of a value, of which only the number matters. */
static struct skip skip_of(const struct skip_table *table, int symbol, int length) {
    const int run = symbol >> 4, size = symbol & 15;
    if (table->kind == DC) return (struct skip){length + symbol, length, REST | 1};
    if (size) return (struct skip){length + size, length, run + 1};
    return (struct skip){length, length, run == 15 ? 16 : END};
}

static int make_first(struct skip_table *table) {
    for (int bits = 0; bits < 1 << LOOK; bits++) table->one[bits] = (struct skip){0, 0, NO_CODE};
    int code = 0, k = 0;
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->first_code[length] = code, table->first_symbol[length] = k;
        for (int i = 0; i < table->counts[length - 1]; i++, code++, k++) {
            const int symbol = table->symbols[k], size = table->kind == DC ? symbol : symbol & 15;
            if (size > (table->kind == DC ? 11 : 10)) return 0; /* more than 8-bit pictures can have */
            if (code >= (1 << length) - 1) return 0; /* no code is all ones */
            if (length > LOOK) continue;
            const struct skip skip = skip_of(table, symbol, length);
            for (int low = 0; low < 1 << (LOOK - length); low++) table->one[code << (LOOK - length) | low] = skip;
        }
    }
    return 1;
}

struct skip first_symbol(const struct skip_table *table, uint64_t window) {
    const struct skip skip = table->one[window >> (64 - LOOK)];
    if (skip.bits) return skip;
    for (int length = LOOK + 1; length <= 16; length++) {
        const int32_t place = (int32_t)(window >> (64 - length)) - table->first_code[length];
        if (place >= 0 && place < table->counts[length - 1])
            return skip_of(table, table->symbols[table->first_symbol[length] + place], length);
    }
    return (struct skip){0, 0, NO_CODE};
}

static void make_many(struct skip_table *table) {
    for (int bits = 0; bits < 1 << LOOK; bits++) {
        struct skip all = table->one[bits];
        while (table->kind == AC && all.advance < 64 && all.bits < LOOK) {
            const struct skip next = table->one[bits << all.bits & ((1 << LOOK) - 1)];
            if (!next.bits || next.code > LOOK - all.bits) break;
            if (next.advance != END && all.advance + next.advance > 64) break;
            all.bits += next.bits, all.advance += next.advance;
        }
        table->many[bits] = all;
    }
    /* Where there is no room for the long codes, none is one: then the entry of LOOK bits says NO_CODE. */
    const uint32_t first = table->first_code[LOOK + 1] >> 1, numbers = ((1 << LOOK) - first) << (16 - LOOK);
    table->first_long = numbers > MOST_LONG ? 1 << LOOK : first;
    for (uint32_t i = 0; i < numbers && numbers <= MOST_LONG; i++)
        table->many[(1 << LOOK) + i] = first_symbol(table, (uint64_t)((first << (16 - LOOK)) + i) << 48);
}

const struct skip_table *skip_table(const struct jpeg *jpeg, int kind, int number) {
    const struct huffman huffman = jpeg->huffman[kind][number];
    struct skip_table *table = &tables[kind][number];
    int total = 0;
    for (int i = 0; i < 16; i++) total += huffman.counts[i];
    if (table->defined && !memcmp(table->counts, huffman.counts, 16) && !memcmp(table->symbols, huffman.symbols, total))
        return table;
    table->kind = kind;
    memcpy(table->counts, huffman.counts, 16);
    memcpy(table->symbols, huffman.symbols, total);
    table->defined = make_first(table);
    if (!table->defined) return NULL;
    make_many(table);
    return table;
}

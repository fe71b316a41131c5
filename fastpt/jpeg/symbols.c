/* Tables that decode, as symbols.h has it. */

#include "symbols.h"

#include <stddef.h>
#include <string.h>

static int run_of(int kind, int meaning) { return kind == DC ? 0 : meaning >> 4; }

static int size_of(int kind, int meaning) { return kind == DC ? meaning : meaning & 15; }

/* The symbol whose code has `length` bits, at the beginning of `window`. */
static symbol symbol_of(int kind, int meaning, int length, uint64_t window) {
    if (kind == AC && !size_of(kind, meaning) && run_of(kind, meaning) < 15) return length | BLOCK_ENDS << 8;
    return symbol_with_value(length, size_of(kind, meaning), run_of(kind, meaning) + 1, window);
}

symbol long_code(const symbol *look, uint64_t window) {
    const struct symbol_table *table = (const void *)((const char *)look - offsetof(struct symbol_table, look));
    for (int length = LOOK_BITS + 1; length <= 16; length++) {
        const int32_t place = (int32_t)(window >> (64 - length)) - table->first_code[length];
        if (place >= 0 && place < table->counts[length - 1])
            return symbol_of(table->kind, table->meanings[table->first_symbol[length] + place], length, window);
    }
    return NO_CODE << 8;
}

static int fill(struct symbol_table *table, int kind) {
    int code = 0, k = 0;
    memset(table->look, 0, sizeof table->look);
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->first_code[length] = code, table->first_symbol[length] = k;
        for (int i = 0; i < table->counts[length - 1]; i++, code++, k++) {
            const int meaning = table->meanings[k], size = size_of(kind, meaning), rest = LOOK_BITS - length;
            if (size > (kind == DC ? 11 : 10)) return 0; /* more than 8-bit pictures can have */
            if (code >= (1 << length) - 1) return 0; /* no code is all ones */
            for (uint32_t low = 0; rest >= 0 && low < 1u << rest; low++) {
                const uint64_t bits = (uint64_t)code << rest | low;
                const symbol without = (run_of(kind, meaning) + 1) << 8 | length << 16 | (symbol)size << 24;
                table->look[bits] = size > rest ? without : symbol_of(kind, meaning, length, bits << (64 - LOOK_BITS));
            }
        }
    }
    return 1;
}

int make_symbol_table(struct symbol_table *table, int kind, const struct huffman *huffman) {
    int total = 0;
    for (int i = 0; i < 16; i++) total += huffman->counts[i];
    if (table->defined && !memcmp(table->counts, huffman->counts, 16) && !memcmp(table->meanings, huffman->symbols, total))
        return 1;
    memcpy(table->counts, huffman->counts, 16);
    memcpy(table->meanings, huffman->symbols, total);
    table->kind = kind;
    return table->defined = fill(table, kind);
}

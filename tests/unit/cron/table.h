/* Cases as text: tests/tables/NAME. One case a line, cells between " | ", '#' begins a comment
 * line. */
#ifndef ORRERY_TESTS_UNIT_CRON_TABLE_H
#define ORRERY_TESTS_UNIT_CRON_TABLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_LINE_BYTES = 4096, TABLE_MOST_CELLS = 8 };

struct table_row {
    int line_number;
    size_t cell_count;
    char *cells[TABLE_MOST_CELLS];
};

/* Calls `check` for each case of the table. Cells keep their blanks, but for one on each side of a
 * '|'. */
static inline void table_for_each(const char *name, void (*check)(const struct table_row *row)) {
    char path[1024];
    char line[TABLE_LINE_BYTES];
    const char *root = getenv("ORRERY_SOURCE_ROOT"); // NOLINT(concurrency-mt-unsafe)
    snprintf(path, sizeof path, "%s/tests/tables/%s", root == NULL ? "." : root, name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fail_msg("cannot open %s", path);
    }
    struct table_row row = {0};
    int checked = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        row.line_number++;
        row.cell_count = 0;
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0') {
            continue;
        }
        for (char *at = line; at != NULL && row.cell_count < TABLE_MOST_CELLS;) {
            char *end = strstr(at, "| ");
            row.cells[row.cell_count++] = at;
            if (end != NULL) {
                if (end > at) {
                    end[-1] = '\0';
                }
                *end = '\0';
                end += 2;
            }
            at = end;
        }
        check(&row);
        checked++;
    }
    fclose(file);
    assert_true(checked > 0);
}

#endif

/* The names of the system's time zones, read from its tzdata.zi (zones and links). */
#ifndef ORRERY_TESTS_ORACLE_ZONE_NAMES_H
#define ORRERY_TESTS_ORACLE_ZONE_NAMES_H

#include <stdio.h>
#include <string.h>

enum { MOST_ZONES = 1000 };

static char zone_names[MOST_ZONES][64];

static inline size_t read_zone_names(void) {
    FILE *file = fopen("/usr/share/zoneinfo/tzdata.zi", "r");
    char line[512];
    size_t count = 0;
    while (file != NULL && count < MOST_ZONES && fgets(line, sizeof line, file) != NULL) {
        char name[64];
        if (sscanf(line, "Z %63s", name) == 1 || sscanf(line, "L %*s %63s", name) == 1) {
            strcpy(zone_names[count++], name);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return count;
}

#endif

/* A folder of its own for each test of the SQLite driver, with the store's file in it. */
#ifndef ORRERY_TESTS_UNIT_STORE_PLACE_H
#define ORRERY_TESTS_UNIT_STORE_PLACE_H

/* The path of a store's file that is not there yet, in a new folder. */
const char *place_make(void);
/* Removes the folder and all that is in it. */
void place_discard(const char *location);

#endif

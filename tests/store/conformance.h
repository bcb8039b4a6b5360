/* What every driver of the store has to keep: written against store/store.h alone. */
#ifndef ORRERY_TESTS_STORE_CONFORMANCE_H
#define ORRERY_TESTS_STORE_CONFORMANCE_H

struct conformance_driver {
    const char *name;
    /* The location of an empty store, for one test; then its end. */
    const char *(*make_location)(void);
    void (*discard_location)(const char *location);
};

/* Runs all tests as a group of cmocka's; returns how many failed. */
int conformance_run(const struct conformance_driver *driver);

#endif

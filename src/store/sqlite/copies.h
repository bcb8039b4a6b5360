/* For neighbours in sqlite/: backups, and how one takes the place of a store. As in store.h.
 *
 * A restore has two halves. First the backup is checked, copied beside the store and checked again: when it has the
 * name "<store>.restore", the restore is decided. Then, when nobody has the store open, it takes the store's place:
 * at once where there is no daemon, else when the daemon opens the store again. Whatever ends the process in
 * between, the next opening as the daemon goes on from there. */
#ifndef ORRERY_STORE_SQLITE_COPIES_H
#define ORRERY_STORE_SQLITE_COPIES_H

#include "base/error.h"

bool sqlite_backup(const char *location, const char *file,
                   void (*progress)(uint64_t done_pages, uint64_t all_pages), struct error *err);
bool sqlite_stage_restore(const char *location, const char *file,
                          void (*progress)(uint64_t done_pages, uint64_t all_pages),
                          struct error *err);
bool sqlite_restore_is_staged(const char *location);
bool sqlite_finish_restore(const char *location, struct error *err);
bool sqlite_find_daemon(const char *location, int64_t *out_pid, struct error *err);

/* What was made or renamed in the folder of `path` is on disk. */
MUST_CHECK bool sqlite_flush_folder_of(const char *path, struct error *err);

/* The store's file itself where `location` is a link to it, so that all agree on the names beside it. From malloc. */
char *sqlite_real_path(const char *location);

/* With the daemon's lock held, before the store is opened: puts a staged backup, if there is one, in its place.
 * `path` is a real one. */
MUST_CHECK bool sqlite_take_restore(const char *path, struct error *err);

#endif

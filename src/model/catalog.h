/* What was found out about models, kept beside the store, so that a start need not load every model to know its
 * signature: a describer in front of another one.
 *
 * What it keeps of a file holds while the file is the same (device, inode, size, times of change), the options of its
 * session are, and the engine (ONNX Runtime's version) is. The engine is learnt by really describing the first model that
 * is asked for. Only what loads is kept: what does not may do so next time. It is a cache, no more: a file that cannot be
 * read, or is broken, is an empty one.
 *
 * Owned by the repository's thread while that runs. */
#ifndef ORRERY_MODEL_CATALOG_H
#define ORRERY_MODEL_CATALOG_H

#include "model/repository.h"

struct catalog;

/* Reads the file at `path`, if there is one. */
struct catalog *catalog_new(const char *path, struct model_describer describer);
/* Does not write it. NULL is fine. */
void catalog_free(struct catalog *catalog);

/* Asks the other describer only for what is not kept. Valid as long as the catalog. */
struct model_describer catalog_describer(struct catalog *catalog);

/* Writes the file anew if there is something to write: what was asked for in this life of the process. */
MUST_CHECK bool catalog_save(struct catalog *catalog, struct error *err);

#endif

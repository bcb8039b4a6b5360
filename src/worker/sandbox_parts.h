/* For sandbox.c: its two large parts. */
#ifndef ORRERY_WORKER_SANDBOX_PARTS_H
#define ORRERY_WORKER_SANDBOX_PARTS_H

#include "worker/sandbox.h"

/* Loads the profile's seccomp filter. `out_in_force` false: the kernel has no seccomp filters. */
MUST_CHECK bool sandbox_filter_calls(const struct sandbox_options *options, bool *out_in_force,
                                     struct error *err);

/* The kernel's version of Landlock; 0 if it has none, or it is switched off. */
int landlock_version(void);

enum { LANDLOCK_VERSION_WITH_SIGNALS = 6 };

/* Restricts the process to its files. The kernel must have Landlock. */
MUST_CHECK bool sandbox_restrict_files(const struct sandbox_options *options, int version,
                                       struct error *err);

#endif

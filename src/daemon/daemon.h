/* Wires everything: start order, signals, readiness, drain. What must flow upward between the layers (the
 * dispatcher's describer for the model repository, say) is handed in here. */
#ifndef ORRERY_DAEMON_DAEMON_H
#define ORRERY_DAEMON_DAEMON_H

#include "config/settings.h"

/* Runs until SIGTERM or SIGINT, then drains: refuses what is new, lets what runs finish within the drain
 * limit, hands the rest back to the next start. True after an orderly end; a second signal ends it at once.
 * Call on the main thread, before any other thread exists. */
MUST_CHECK bool daemon_run(const struct settings *settings, struct error *err);

#endif

#include "daemon/zone_watch.h"

#include "clock/zone.h"
#include "observe/log.h"

#include <errno.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { SETTLED_MS = 1000, SETTLING_ROUNDS_MAXIMUM = 60 };

int zone_watch_open(void) {
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    const char *folder = zone_database_directory();
    /* A package's upgrade renames new files over the old ones; a copy by hand writes them. */
    if (fd < 0 ||
        inotify_add_watch(fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR) < 0) {
        struct error err;
        error_set_errno(&err, ERROR_IO, errno, "cannot watch the time zones in %s", folder);
        log_event(LOG_WARNING, "zones_not_watched", LOG_FAILURE(&err));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

static void take_events(int fd) {
    char events[4096];
    while (read(fd, events, sizeof events) > 0) {
    }
}

bool zone_watch_refresh(int fd) {
    struct pollfd more = {.fd = fd, .events = POLLIN};
    take_events(fd);
    for (int round = 0; round < SETTLING_ROUNDS_MAXIMUM && poll(&more, 1, SETTLED_MS) > 0;
         round++) {
        take_events(fd);
    }
    bool changed = false;
    struct error err;
    if (!zone_cache_refresh(&changed, &err)) {
        log_event(LOG_WARNING, "zones_not_read", LOG_FAILURE(&err));
        return false;
    }
    if (changed) {
        log_event(LOG_INFO, "zones_changed", LOG_STRING("tzdata", zone_database_version()));
    }
    return changed;
}

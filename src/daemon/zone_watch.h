/* For neighbours in daemon/: notices that the system's time zone data was replaced (an upgrade of tzdata), by inotify on
 * its folder. Main thread only. */
#ifndef ORRERY_DAEMON_ZONE_WATCH_H
#define ORRERY_DAEMON_ZONE_WATCH_H

#include <stdbool.h>

/* A descriptor that becomes readable when a file of the folder changes, or -1 where it cannot be watched, which is
 * logged. The caller closes it. */
int zone_watch_open(void);

/* Call when it is readable: waits until the upgrade has settled (nothing changed for a second or two), reads the zones
 * anew, and tells whether any of them is not what it was. */
bool zone_watch_refresh(int fd);

#endif

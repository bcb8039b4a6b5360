#!/usr/bin/python3
"""Compares every zone's changes of the clock, as printed by `zones --dump` on standard input, with
Python's zoneinfo: both sides of every change, and a sample every 20 days from 1900 to 2199."""

import sys
from bisect import bisect_right
from datetime import datetime, timedelta, timezone
from itertools import groupby
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FROM, UNTIL, STEP = -2208988800, 7258118400, 20 * 86400


def main():
    compared = zones = differences = 0
    rows = (line.split() for line in sys.stdin)
    for name, group in groupby(rows, key=lambda row: row[0]):
        spans = [(int(start), int(offset), abbreviation) for _, start, offset, abbreviation in group]
        starts = [span[0] for span in spans]
        zone = ZoneInfo(name)
        zones += 1
        instants = [at for start in starts for at in (start - 1, start, start + 1) if at >= FROM]
        instants += range(FROM, UNTIL, STEP)
        for at in instants:
            local = (EPOCH + timedelta(seconds=at)).astimezone(zone)
            _, offset, abbreviation = spans[bisect_right(starts, at) - 1]
            compared += 1
            if local.utcoffset() != timedelta(seconds=offset) or local.tzname() != abbreviation:
                differences += 1
                if differences <= 20:
                    print(f"DIFFERENCE {name} at {at}: zoneinfo {local.utcoffset()} {local.tzname()}, "
                          f"ours {offset} {abbreviation}")
    print(f"zoneinfo: {zones} zones, {compared} comparisons, {differences} differences")
    return 1 if differences or not zones else 0


if __name__ == "__main__":
    sys.exit(main())

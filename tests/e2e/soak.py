#!/usr/bin/python3
"""The long fault tests, on the real binary: script/soak [--cycles N] [--runs N] [--seed N] [PART]...

  kills       kill -9 at random instants, under load
  ends        SIGTERM under load
  workers     kill -9 of worker processes, under load
  stops       SIGSTOP and SIGCONT of the daemon, up to longer than the limit for being late
  clocks      restarts into time namespaces, where the monotonic clock starts anew

At the end the store is also asked by SQL, which knows nothing of the API. Ends with one line, `lost 0, twice 0, stuck 0`, and status 0 if that is what it says. Needs no test runner. The
models, the store and the log are in a new folder, which stays if something is wrong.
"""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from conftest import Daemon, wait_for, worker_pids, write_line_model  # noqa: E402
from ledger import Fleet, loop_parameters, rounds_per_second, vary, write_loop_model  # noqa: E402

is_terminal = sys.stdout.isatty()


def say(text, lasting=False):
    """Progress: one line that changes on a terminal, now and then a line elsewhere."""
    if is_terminal:
        print(f"\r\033[K{text}", end="\n" if lasting else "", flush=True)
    elif lasting:
        print(text, flush=True)


def launch(fleet, seeded, runs):
    """Runs of all policies, most of a fast model and some of one that is slower than its schedule."""
    with fleet.client() as api:
        second = rounds_per_second(api)
        for i in range(runs):
            fleet.create(api, seeded.choice((1, 1, 1, 2, 3)), stays=i % 2 == 0, **vary(seeded))
        # Together they ask for less than the one worker that the slow model may have: else who catches up on all
        # slots would never be done.
        for overlap, period, length_s in (("skip", 1, 0.2), ("queue_one", 5, 0.2), ("cancel_running", 2, 0.3),
                                          ("allow", 10, 0.2), ("queue_all", 10, 0.2)):
            for catchup in ("latest", "all" if period >= 5 else "none"):
                fleet.create(api, period, stays=True, model_name="loop", overlap=overlap, catchup=catchup,
                             timeout="30s", parameters=loop_parameters(second * length_s))


def kills(fleet, seeded, options):
    """At random: while it starts, while it settles what the last one left, and in full work."""
    daemon = fleet.daemon
    begin = time.monotonic()
    for cycle in range(1, options.cycles + 1):
        fleet.start_load(seeded, options.runs)
        time.sleep(seeded.uniform(0, 1.5))
        daemon.kill()
        fleet.stop_load()
        while seeded.random() < 0.2:
            daemon.spawn()
            time.sleep(seeded.uniform(0, 0.4))
            daemon.kill()
        started = time.time()
        daemon.start()
        with fleet.client() as api:
            fleet.adopt(api)
            fleet.verify(api, time.time() - 1)
            fleet.verify_nothing_is_left_of(api, started)
        say(f"kills: {cycle} of {options.cycles}, {fleet.counts.slots} slots, {fleet.triggers} triggers, "
            f"{fleet.creates} creates, {fleet.deletes} deletes, {time.monotonic() - begin:.0f} s, {fleet.counts}",
            lasting=cycle % 10 == 0 or cycle == options.cycles)


def ends(fleet, seeded, options):
    daemon = fleet.daemon
    for cycle in range(1, max(options.cycles // 10, 3) + 1):
        fleet.start_load(seeded, options.runs)
        time.sleep(seeded.uniform(0, 1.5))
        status = daemon.stop()
        fleet.stop_load()
        if status != 0:
            fleet.counts.note("stuck", f"SIGTERM: exit status {status}")
        daemon.start()
        with fleet.client() as api:
            fleet.adopt(api)
            fleet.verify(api, time.time() - 1)
        say(f"ends: {cycle}, {fleet.counts.slots} slots, {fleet.counts}", lasting=cycle % 10 == 0)


def workers(fleet, seeded, options):
    fleet.start_load(seeded, options.runs)
    killed = 0
    for _ in range(max(options.cycles // 3, 20)):
        time.sleep(seeded.uniform(0, 0.3))
        children = worker_pids(fleet.daemon)
        if children:
            try:
                os.kill(seeded.choice(children), signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass  # it was killed for its job
    fleet.stop_load()
    with fleet.client() as api:
        fleet.verify(api, time.time() - 1)
    say(f"workers: {killed} killed, {fleet.counts.slots} slots, {fleet.counts}", lasting=True)


def stops(fleet, seeded, options):
    for seconds in (2, 5, 75):  # the last is longer than the limit up to which a late slot counts as live
        fleet.start_load(seeded, options.runs)
        time.sleep(1)
        fleet.daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        fleet.daemon.process.send_signal(signal.SIGCONT)
        fleet.stop_load()
        with fleet.client() as api:
            fleet.verify(api, time.time() - 1)
        say(f"stops: {seconds} s, {fleet.counts.slots} slots, {fleet.counts}", lasting=True)


def clocks(fleet, seeded, options):
    """Time namespaces: the monotonic clock and the time since boot of a process are days ahead, then back."""
    import subprocess

    if subprocess.run(["unshare", "-rT", "true"], capture_output=True).returncode != 0:
        say("clocks: skipped, no time namespaces are permitted here", lasting=True)
        return
    for days in (10, 0, 400):
        assert fleet.daemon.stop() == 0
        prefix = ["unshare", "-rT", "--monotonic", str(days * 86400), "--boottime", str(days * 86400)]
        fleet.daemon.prefix = prefix if days else []
        fleet.daemon.start()
        fleet.start_load(seeded, options.runs)
        time.sleep(2)
        fleet.stop_load()
        with fleet.client() as api:
            fleet.adopt(api)
            fleet.verify(api, time.time() - 1)
        say(f"clocks: {days} days ahead, {fleet.counts.slots} slots, {fleet.counts}", lasting=True)
    fleet.daemon.stop()
    fleet.daemon.prefix = []
    fleet.daemon.start()


PARTS = {"kills": kills, "ends": ends, "workers": workers, "stops": stops, "clocks": clocks}


def ask_the_store(fleet):
    """What must hold of the rows themselves, read from the file beside the daemon."""
    questions = {
        "twice": "SELECT count(*) FROM outcomes gap JOIN executions missed ON missed.key = gap.execution_key "
                 "JOIN executions other ON other.slot BETWEEN gap.missed_from AND gap.missed_to "
                 "AND other.run_key = missed.run_key AND other.key <> missed.key "
                 "AND other.trigger IN (0, 3) AND other.backfill_key IS NULL WHERE gap.missed_from IS NOT NULL",
        "stuck": "SELECT count(*) FROM executions WHERE key NOT IN (SELECT execution_key FROM outcomes)",
        "lost": "SELECT count(*) FROM outcomes WHERE execution_key NOT IN (SELECT key FROM executions)",
    }
    with contextlib.closing(sqlite3.connect(f"file:{fleet.daemon.db}?mode=ro", uri=True)) as db:
        for kind, question in questions.items():
            found = db.execute(question).fetchone()[0]
            if found:
                fleet.counts.note(kind, f"{found} rows by SQL: {question}")
        if db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            fleet.counts.note("lost", "PRAGMA integrity_check")


def main():
    parser = argparse.ArgumentParser(description="the long fault tests, on the real binary")
    parser.add_argument("--cycles", type=int, default=300, help="how often to kill [300]")
    parser.add_argument("--runs", type=int, default=200, help="runs of a fast model, most due every second [200]")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of all that is random")
    parser.add_argument("parts", metavar="PART", nargs="*", help=" ".join(PARTS) + " [all]")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="orrery-soak-"))
    say(f"soak: seed {options.seed}, in {folder}", lasting=True)
    seeded = random.Random(options.seed)
    models = folder / "models"
    write_line_model(models, "line", 1, 2, 1)
    write_loop_model(models)
    daemon = Daemon(folder, models, ["--workers", "3"])
    daemon.start()
    fleet = Fleet(daemon, daemon.create_key("soak"))
    try:
        wait_for(daemon._is_ready, "readiness")
        launch(fleet, seeded, options.runs)
        for name in options.parts or PARTS:
            PARTS[name](fleet, seeded, options)
        with fleet.client() as api:
            fleet.finish(api)
        ask_the_store(fleet)
        assert daemon.stop() == 0
    finally:
        fleet.stop_load()
        if daemon.process.poll() is None:
            daemon.kill()
    for detail in fleet.counts.details:
        say(detail, lasting=True)
    say(f"soak: {fleet.counts.slots} slots of {len(fleet.runs)} runs, {fleet.triggers} triggers, "
        f"{fleet.counts.interrupted} executions cut off by kills", lasting=True)
    say(str(fleet.counts), lasting=True)
    if str(fleet.counts) != "lost 0, twice 0, stuck 0":
        sys.exit(1)
    shutil.rmtree(folder)


main()

#!/usr/bin/python3
"""Many schedules: how late they are, how many executions a second there are, and what it takes.

  executions a second     through the diabetes model, the full record kept: due by schedule, and triggered by
                          64 clients that wait; beside SQLite alone with the same rows in batches
  lateness                started_at - scheduled_for of 1,000 runs due in every second, and of many
                          runs due at the same minute, and until the last of these was done
  latency of the API      while these are due: GET one run, and a durable POST, each 20 ms
  start-up, memory, idle  until ready; resident bytes a schedule; processor while nothing is due

usage: bench/schedules.py [--build FOLDER] [COUNT]...

Each COUNT runs are due at the same minute: by default 10000 100000; 1000000 takes some minutes and 3 GB of disk.
"""
import argparse
import http.client
import pathlib
import re
import sqlite3
import subprocess
import tempfile
import threading
import time

from service_under_test import BODY, ROOT, Service, cpu_seconds, memory_kb, row, wrk

EVERY_SECOND_RUNS = 1000
EVERY_SECOND_FOR_S = 15
TRIGGERS_FOR_S = 5
IDLE_FOR_S = 10
PROBE_PAUSE_S = 0.02
GIVE_UP_AFTER_S = 600


def percentile(values, share):
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def show_ms(values):
    values = sorted(values)
    return (f"p50 {percentile(values, 0.5):,.1f} ms",
            f"p99 {percentile(values, 0.99):,.1f} ms, max {values[-1]:,.1f} ms")


class Probe:
    """A client that asks for one run and creates one, again and again, and notes how long each took."""

    def __init__(self, service, path):
        self.service = service
        self.path = path
        self.latencies_ms = {"GET": [], "POST": []}
        self.failures = []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        connection = http.client.HTTPConnection(self.service.address, timeout=60)
        while not self.ending.wait(PROBE_PAUSE_S):
            for method, path, body in (("GET", self.path, None), ("POST", "/api/scheduled", BODY)):
                start = time.monotonic()
                status, _ = self.service.call_on(connection, method, path, body)
                self.latencies_ms[method].append((time.monotonic() - start) * 1000)
                if status not in (200, 201):
                    self.failures.append(f"{method} {status}")
        connection.close()

    def end(self):
        self.ending.set()
        self.thread.join()
        if self.failures:
            raise SystemExit(f"the API failed meanwhile: {self.failures[:5]}")
        return self.latencies_ms


class Ledger:
    """What the store says came of the slots since `since_us`."""

    def __init__(self, service, since_us):
        self.db = sqlite3.connect(f"file:{service.db}?mode=ro", uri=True)
        self.since_us = since_us

    def lateness_ms(self):
        rows = self.db.execute(
            "SELECT (o.started_at - e.slot) / 1e3 FROM executions e"
            " JOIN outcomes o ON o.execution_key = e.key"
            " WHERE e.slot >= ? AND e.trigger = 0 AND o.status = 2", (self.since_us,))
        return sorted(late for late, in rows)

    def last_finished_us(self):
        return self.db.execute(
            "SELECT max(o.finished_at) FROM executions e JOIN outcomes o ON o.execution_key = e.key"
            " WHERE e.slot >= ? AND e.trigger = 0", (self.since_us,)).fetchone()[0]

    def check_all_ran_once(self, count):
        """A slot each, an execution each, all of them good: else the figures mean nothing."""
        ran, runs = self.db.execute(
            "SELECT count(*), count(DISTINCT e.run_key) FROM executions e"
            " JOIN outcomes o ON o.execution_key = e.key"
            " WHERE e.slot >= ? AND e.trigger = 0 AND o.status = 2", (self.since_us,)).fetchone()
        if ran != count or runs != count:
            raise SystemExit(f"{count} slots were due; {ran} executions of {runs} runs succeeded")


def bare_executions(build):
    """Rows of whole executions that SQLite alone takes a second, in batches."""
    output = subprocess.run([build / "bench" / "bench_store", "200000", "bare-executions"],
                            check=True, capture_output=True, text=True).stdout
    return float(re.search(r"execution rows, bare SQLite.*?(\d+) /s", output).group(1))


def measure_every_second(build, folder):
    service = Service(build, folder)
    for i in range(EVERY_SECOND_RUNS):
        service.create(schedule="* * * * * *", name=f"late-{i}")
    since_us = (int(time.time()) + 2) * 1_000_000
    pids = service.pids()
    before = cpu_seconds(pids)
    start = time.monotonic()
    time.sleep(EVERY_SECOND_FOR_S + 2)
    share = (cpu_seconds(pids) - before) / (time.monotonic() - start)
    service.stop()
    lateness = Ledger(service, since_us).lateness_ms()
    row(f"lateness, {EVERY_SECOND_RUNS:,} runs due in every second", *show_ms(lateness))
    row("", f"{len(lateness):,}", f"executions; {share:.0%} of a processor")


def measure_triggers(build, folder, bare_rate):
    service = Service(build, folder)
    path = "/api/scheduled/" + service.create()
    rate = wrk(f"http://{service.address}{path}/trigger", TRIGGERS_FOR_S, service.key, {})
    service.stop()
    row("durable executions, triggered, 64 clients wait", f"{rate:,.0f}/s",
        f"{rate / bare_rate:.2f} of SQLite alone")


def fill(build, folder, count, due_at):
    start = time.monotonic()
    subprocess.run([build / "bench" / "fill_store", folder / "orrery.db", str(count),
                    time.strftime("%H:%M", time.gmtime(due_at))], check=True)
    seconds = time.monotonic() - start
    row(f"runs put into the store, {count:,}", f"{count / seconds:,.0f}/s")


def measure_memory(service, count, empty_kb):
    full_kb = memory_kb(service.process.pid)
    row("resident", f"{full_kb / 1024:.1f} MB",
        f"{(full_kb - empty_kb) * 1024 / count:.0f} bytes a schedule")


def measure_idle(pids, limit_s):
    before = cpu_seconds(pids)
    time.sleep(min(IDLE_FOR_S, limit_s))
    used_s = cpu_seconds(pids) - before
    row("processor while nothing is due", f"{used_s * 1000:.0f} ms",
        f"in {min(IDLE_FOR_S, limit_s):.0f} s, with the workers")


def wait_until_all_ended(service, due_at, count):
    """Looks at the end of the log, which names each execution that ended, and not at the store, which is busy."""
    ended = 0
    text = b""
    with open(service.log.name, "rb") as log:
        while ended < count:
            if time.time() > due_at + GIVE_UP_AFTER_S:
                raise SystemExit(f"only {ended} of {count} ended")
            lines, _, text = (text + log.read()).rpartition(b"\n")
            ended += lines.count(b"event=execution_finished")
            time.sleep(0.1)


def measure_same_minute(build, folder, count, empty_kb, bare_rate):
    print(f"\n{count:,} runs due at the same minute", flush=True)
    # Filling and starting have to be over before that minute.
    due_at = (int(time.time() + 20 + count / 15_000) // 60 + 1) * 60
    fill(build, folder, count, due_at)
    service = Service(build, folder)
    row("start-up until ready", f"{service.ready_s:.2f} s")
    measure_memory(service, count, empty_kb)
    pids = service.pids()
    path = "/api/scheduled/" + service.create()
    left_s = due_at - time.time()
    if left_s < 3:
        raise SystemExit("it took too long until the service was ready")
    measure_idle(pids, left_s - 2)
    time.sleep(max(0, due_at - 1 - time.time()))
    before = cpu_seconds(pids)
    probe = Probe(service, path)
    time.sleep(2)
    wait_until_all_ended(service, due_at, count)
    latencies = probe.end()
    used_s = cpu_seconds(pids) - before
    ledger = Ledger(service, due_at * 1_000_000)
    ledger.check_all_ran_once(count)
    lateness = ledger.lateness_ms()
    took_s = ledger.last_finished_us() / 1e6 - due_at
    row("lateness", *show_ms(lateness))
    row("the last one was done after", f"{took_s:.2f} s")
    row("durable executions, due by schedule", f"{count / took_s:,.0f}/s",
        f"{count / took_s / bare_rate:.2f} of SQLite alone;"
        f" {used_s / count * 1e6:.0f} us of processor each")
    for method, values in latencies.items():
        row(f"{method} meanwhile", *show_ms(values))
    row("resident afterwards", f"{memory_kb(service.process.pid) / 1024:.1f} MB")
    service.stop()
    print(f"  {'store':<52} {service.db.stat().st_size / count:>11,.0f} B  a run with its execution")


def empty_service_kb(build, folder):
    service = Service(build, folder)
    service.create()
    size_kb = memory_kb(service.process.pid)
    service.stop()
    return size_kb


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build-release")
    parser.add_argument("counts", nargs="*", type=int, metavar="COUNT")
    arguments = parser.parse_args()
    build = ROOT / arguments.build
    bare_rate = bare_executions(build)
    row("SQLite alone, the same rows in batches", f"{bare_rate:,.0f}/s")

    def with_folder(measure, *more):
        with tempfile.TemporaryDirectory(prefix="orrery-bench-") as folder:
            return measure(build, pathlib.Path(folder), *more)

    with_folder(measure_triggers, bare_rate)
    with_folder(measure_every_second)
    empty_kb = with_folder(empty_service_kb)
    for count in arguments.counts or [10_000, 100_000]:
        with_folder(measure_same_minute, count, empty_kb, bare_rate)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""The whole service under load, beside what bounds it, in one run.

  GET one run          against a bare libmicrohttpd answer of the same size
  POST one run         against bare SQLite inserts of the same row: one durable transaction each, and in batches
  the idle daemon      resident memory, and wake-ups while nothing is due

usage: bench/service.py [BUILD_FOLDER]     (build-release; needs wrk)
"""
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import time

from service_under_test import (BODY, CONNECTIONS, ROOT, Service, children, memory_kb, row,
                                switches, wrk)

BUILD = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "build-release")
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
BARE_PORT = 18099


def bare_http(size_bytes):
    server = subprocess.Popen([BUILD / "bench" / "bare_http", str(BARE_PORT), str(size_bytes),
                               "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server.stdout.readline()
    try:
        return wrk(f"http://127.0.0.1:{BARE_PORT}/", SECONDS)
    finally:
        server.stdin.close()
        server.wait()


def bare_sqlite(folder, batch):
    """Inserts of a row of the size of a run, a second; `batch` of them in one durable transaction."""
    db = sqlite3.connect(folder / f"bare-{batch}.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE runs(key INTEGER PRIMARY KEY, owner INTEGER, model TEXT, schedule TEXT,"
               " parameters TEXT, created_at INTEGER, next_run INTEGER)")
    parameters = json.dumps(BODY["parameters"])
    count = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO runs(owner, model, schedule, parameters, created_at, next_run)"
                       " VALUES (1, 'diabetes', '0 2 * * *', ?, 1, 2)", [(parameters,)] * batch)
        db.execute("COMMIT")
        count += batch
    db.close()
    return count / SECONDS


def measure_idle(folder):
    service = Service(BUILD, folder)
    # a run that is not due for long: the timer is armed, and nothing happens
    service.call("POST", "/api/scheduled", dict(BODY, schedule="0 0 1 1 *"))
    pid = service.process.pid
    time.sleep(2)
    before = switches(pid) + sum(switches(child) for child in children(pid))
    time.sleep(60)
    after = switches(pid) + sum(switches(child) for child in children(pid))
    row("idle daemon, resident", f"{memory_kb(pid) / 1024:.1f} MB",
        "workers: " + ", ".join(f"{memory_kb(child) / 1024:.0f} MB" for child in children(pid)))
    row("idle daemon and workers, wake-ups a minute", str(after - before))
    service.stop()


def measure_requests(folder):
    service = Service(BUILD, folder)
    status, created = service.call("POST", "/api/scheduled", BODY)
    assert status == 201, created
    path = "/api/scheduled/" + created["run_id"]
    size_bytes = len(json.dumps(service.call("GET", path)[1]))
    bare = bare_http(size_bytes)
    get = wrk(f"http://{service.address}{path}", SECONDS, service.key)
    row("bare libmicrohttpd answer", f"{bare:,.0f}/s", f"{size_bytes} bytes")
    row("GET one run", f"{get:,.0f}/s", f"{get / bare:.2f} of bare libmicrohttpd")
    alone = bare_sqlite(folder, 1)
    batched = bare_sqlite(folder, CONNECTIONS)
    post = wrk(f"http://{service.address}/api/scheduled", SECONDS, service.key, BODY)
    row("bare SQLite, a durable transaction an insert", f"{alone:,.0f}/s")
    row(f"bare SQLite, {CONNECTIONS} inserts a transaction", f"{batched:,.0f}/s")
    row("POST one run, durable", f"{post:,.0f}/s",
        f"{post / alone:.2f} of single, {post / batched:.2f} of batched inserts")
    trigger = wrk(f"http://{service.address}{path}/trigger", SECONDS, service.key, {})
    row("trigger and wait for the result, durable", f"{trigger:,.0f}/s")
    service.stop()


def main():
    for measure in (measure_requests, measure_idle):
        with tempfile.TemporaryDirectory(prefix="orrery-bench-") as folder:
            measure(pathlib.Path(folder))


if __name__ == "__main__":
    main()

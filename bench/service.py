#!/usr/bin/python3
"""The whole service under load, beside what bounds it, in one run.

  GET one run          against a bare libmicrohttpd answer of the same size
  POST one run         against bare SQLite inserts of the same row: one durable transaction each, and in batches
  lateness             1,000 runs due in every second, for some seconds
  the idle daemon      resident memory, and wake-ups while nothing is due

usage: bench/service.py [BUILD_FOLDER]     (build-release; needs wrk)
"""
import http.client
import json
import os
import pathlib
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "build-release")
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
CONNECTIONS = 64
BARE_PORT = 18099

BODY = {"model_name": "diabetes", "schedule": "0 2 * * *", "timezone": "Europe/Berlin",
        "parameters": {"data": [[52, 1, 28.5, 110, 195, 97.2, 60, 3, 5.2417, 85]]}}


class Service:
    def __init__(self, folder):
        self.db = folder / "orrery.db"
        program = BUILD / "orrery"
        self.key = subprocess.run([program, "key", "create", "--owner", "bench", "--db", self.db],
                                  check=True, capture_output=True, text=True).stdout.strip()
        self.log = open(folder / "log", "w+")
        self.process = subprocess.Popen(
            [program, "serve", "--listen", "127.0.0.1:0", "--db", self.db, "--models",
             ROOT / "examples" / "models"], stderr=self.log)
        self.address = self.wait_for_address()
        self.wait_for_ready()

    def wait_for_address(self):
        for _ in range(500):
            found = re.search(r"event=listening address=(\S+)",
                              pathlib.Path(self.log.name).read_text())
            if found:
                return found.group(1)
            time.sleep(0.02)
        raise SystemExit("the service did not start: " + pathlib.Path(self.log.name).read_text())

    def wait_for_ready(self):
        for _ in range(500):
            if self.call("GET", "/readyz")[0] == 200:
                return
            time.sleep(0.02)
        raise SystemExit("the service did not become ready")

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        connection.request(method, path, None if body is None else json.dumps(body),
                           {"Authorization": "Bearer " + self.key,
                            "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            raise SystemExit("the service did not end well")


def wrk(url, key=None, body=None):
    """Requests a second, and the share that was not answered with 2xx."""
    arguments = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        lines = []
        if key is not None:
            lines.append(f'wrk.headers["Authorization"] = "Bearer {key}"')
        if body is not None:
            lines.append('wrk.method = "POST"')
            lines.append('wrk.headers["Content-Type"] = "application/json"')
            lines.append("wrk.body = [==[" + json.dumps(body) + "]==]")
        script.write("\n".join(lines))
        script.flush()
        output = subprocess.run(arguments + ["-s", script.name, url], check=True,
                                capture_output=True, text=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if bad:
        raise SystemExit(f"{url}: {bad.group(1)} answers were errors\n{output}")
    return float(re.search(r"Requests/sec:\s*([\d.]+)", output).group(1))


def bare_http(size_bytes):
    server = subprocess.Popen([BUILD / "bench" / "bare_http", str(BARE_PORT), str(size_bytes),
                               "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server.stdout.readline()
    try:
        return wrk(f"http://127.0.0.1:{BARE_PORT}/")
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


def memory_kb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s*(\d+)", status).group(1))


def switches(pid):
    """Times that any thread of the process was put on a processor of its own accord."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        status = (task / "status").read_text()
        total += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.M).group(1))
    return total


def children(pid):
    out = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [int(line) for line in out.split()]


def row(what, value, beside=""):
    print(f"  {what:<46} {value:>14}  {beside}", flush=True)


def measure_idle(folder):
    service = Service(folder)
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
    service = Service(folder)
    status, created = service.call("POST", "/api/scheduled", BODY)
    assert status == 201, created
    path = "/api/scheduled/" + created["run_id"]
    size_bytes = len(json.dumps(service.call("GET", path)[1]))
    bare = bare_http(size_bytes)
    get = wrk(f"http://{service.address}{path}", service.key)
    row("bare libmicrohttpd answer", f"{bare:,.0f}/s", f"{size_bytes} bytes")
    row("GET one run", f"{get:,.0f}/s", f"{get / bare:.2f} of bare libmicrohttpd")
    alone = bare_sqlite(folder, 1)
    batched = bare_sqlite(folder, CONNECTIONS)
    post = wrk(f"http://{service.address}/api/scheduled", service.key, BODY)
    row("bare SQLite, a durable transaction an insert", f"{alone:,.0f}/s")
    row(f"bare SQLite, {CONNECTIONS} inserts a transaction", f"{batched:,.0f}/s")
    row("POST one run, durable", f"{post:,.0f}/s",
        f"{post / alone:.2f} of single, {post / batched:.2f} of batched inserts")
    trigger = wrk(f"http://{service.address}{path}/trigger", service.key, {})
    row("trigger and wait for the result, durable", f"{trigger:,.0f}/s")
    service.stop()


def measure_lateness(folder):
    service = Service(folder)
    for i in range(1000):
        status, answer = service.call("POST", "/api/scheduled",
                                      dict(BODY, schedule="* * * * * *", name=f"late-{i}"))
        assert status == 201, answer
    time.sleep(SECONDS + 5)
    service.stop()
    lates = []
    for match in re.finditer(r"event=execution_finished .*?trigger=schedule .*?late_us=(\d+)",
                             pathlib.Path(service.log.name).read_text()):
        lates.append(int(match.group(1)) / 1000)
    settled = lates[-1000 * SECONDS:]
    quantiles = statistics.quantiles(settled, n=100)
    row("lateness, 1,000 runs due in every second", f"p50 {quantiles[49]:.1f} ms",
        f"p99 {quantiles[98]:.1f} ms, max {max(settled):.1f} ms, {len(settled)} executions")


def main():
    for measure in (measure_requests, measure_lateness, measure_idle):
        with tempfile.TemporaryDirectory(prefix="orrery-bench-") as folder:
            measure(pathlib.Path(folder))


if __name__ == "__main__":
    main()

"""What the benchmarks of the whole service share: the service itself, its load, and what it takes of the machine.

BENCH_WRAPPER is a command before the service, such as "perf record" or "taskset 1".
"""
import atexit
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONNECTIONS = 64

BODY = {"model_name": "diabetes", "schedule": "0 2 * * *", "timezone": "Europe/Berlin",
        "parameters": {"data": [[52, 1, 28.5, 110, 195, 97.2, 60, 3, 5.2417, 85]]}}


class Service:
    """The daemon on a store in the folder, which may hold one already. `ready_s`: from its start until it was ready."""

    def __init__(self, build, folder, models=ROOT / "examples" / "models"):
        self.db = folder / "orrery.db"
        program = build / "orrery"
        self.key = subprocess.run([program, "key", "create", "--owner", "bench", "--db", self.db],
                                  check=True, capture_output=True, text=True).stdout.strip()
        self.log = open(folder / "log", "w+")
        start = time.monotonic()
        self.process = subprocess.Popen(
            [*os.environ.get("BENCH_WRAPPER", "").split(), program, "serve", "--listen", "127.0.0.1:0", "--db", self.db, "--models",
             models], stderr=self.log)
        atexit.register(self.process.kill)  # a benchmark that fails leaves nothing behind
        self.address = self.wait_for_address()
        self.wait_for_ready()
        self.ready_s = time.monotonic() - start

    def wait_for_address(self):
        for _ in range(6000):
            found = re.search(r"event=listening address=(\S+)",
                              pathlib.Path(self.log.name).read_text())
            if found:
                return found.group(1)
            time.sleep(0.01)
        raise SystemExit("the service did not start: " + pathlib.Path(self.log.name).read_text())

    def wait_for_ready(self):
        for _ in range(6000):
            if self.call("GET", "/readyz")[0] == 200:
                return
            time.sleep(0.01)
        raise SystemExit("the service did not become ready")

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        answer = self.call_on(connection, method, path, body)
        connection.close()
        return answer

    def call_on(self, connection, method, path, body=None):
        connection.request(method, path, None if body is None else json.dumps(body),
                           {"Authorization": "Bearer " + self.key,
                            "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None

    def create(self, **changes):
        status, answer = self.call("POST", "/api/scheduled", dict(BODY, **changes))
        if status != 201:
            raise SystemExit(f"a run was not created: {status} {answer}")
        return answer["run_id"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            raise SystemExit("the service did not end well")
        atexit.unregister(self.process.kill)

    def pids(self):
        """The daemon's, and those of its workers."""
        return [self.process.pid] + children(self.process.pid)


def wrk(url, seconds, key=None, body=None):
    """Requests a second; all of them have to be answered with 2xx."""
    arguments = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s"]
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


def cpu_seconds(pids):
    """What the processes have computed, with the kernel's part."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid):
    out = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [int(line) for line in out.split()]


def row(what, value, beside=""):
    print(f"  {what:<52} {value:>14}  {beside}", flush=True)

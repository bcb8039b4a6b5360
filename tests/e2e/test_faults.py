"""The daemon is stopped, starved, killed and run out of room: every slot still has one record."""

import contextlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import httpx
import pytest
from conftest import (BINARY, LIMIT_S, ROOT, create, error_of, executions, wait_for, wait_until_busy,
                      write_line_model, write_slow_loading_model)
from ledger import Fleet, loop_parameters, rounds_per_second, seconds_of, vary, write_loop_model

EVERY_SECOND = "* * * * * *"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """`line`, which is fast; `loop`, as slow as one likes; `endless`."""
    folder = tmp_path_factory.mktemp("models")
    write_line_model(folder, "line", 1, 2, 1)
    write_loop_model(folder)
    (folder / "endless" / "1").mkdir(parents=True)
    (folder / "endless" / "1" / "model.onnx").write_bytes(
        (ROOT / "tests" / "models" / "endless.onnx").read_bytes())
    return folder


@pytest.fixture
def daemon(make_daemon, models):
    return make_daemon(models=models, options=["--workers", "3"])


@pytest.fixture
def fleet(daemon):
    daemon.start()
    fleet = Fleet(daemon, daemon.create_key("alice"))
    yield fleet
    fleet.stop_load()


def line(**fields):
    return {"model_name": "line", "parameters": {"data": [[3], [0.5]]}, **fields}


def loop(api, seconds, **fields):
    return {"model_name": "loop", "parameters": loop_parameters(rounds_per_second(api) * seconds), **fields}


def fill_fleet(fleet, api, count, seed):
    seeded = random.Random(seed)
    for _ in range(count):
        fleet.create(api, seeded.choice((1, 1, 2)), stays=True, **vary(seeded))
    return seeded


# --- kills

def test_kills_under_load_lose_nothing(fleet):
    """The short form of script/soak."""
    daemon = fleet.daemon
    with fleet.client() as api:
        seeded = fill_fleet(fleet, api, 40, seed=5)
        fleet.create(api, 1, stays=True, **loop(api, 0.7))
    for _ in range(5):
        fleet.start_load(seeded, 50)
        time.sleep(seeded.uniform(0, 0.8))
        daemon.kill()
        fleet.stop_load()
        started = time.time()
        daemon.start()
        with fleet.client() as api:
            fleet.adopt(api)
            fleet.verify_nothing_is_left_of(api, started)
    with fleet.client() as api:
        fleet.finish(api)
    fleet.counts.assert_clean()
    assert fleet.counts.slots > 40


def test_what_a_kill_interrupts_is_run_again(daemon):
    daemon.start()
    key = daemon.create_key("alice")
    with daemon.client(key) as api:
        run_id = create(api, **loop(api, 1.5, schedule=EVERY_SECOND, timeout="120s"))
        slot = wait_for(lambda: executions(api, run_id, status="running"), "a running execution")[0]["scheduled_for"]
    daemon.kill()
    daemon.start()
    with daemon.client(key) as api:
        second, first = wait_for(lambda: finished_attempts(api, run_id, slot, 2), "the second attempt")
        api.put(f"/api/scheduled/{run_id}", json={"enabled": False})
    assert (first["status"], first["error"]["type"], first["attempt"]) == ("failed", "Interrupted", 1)
    assert (second["status"], second["trigger"], second["attempt"]) == ("succeeded", "retry", 2)


def finished_attempts(api, run_id, slot, count):
    """The attempts at the slot, newest first, once there are so many and they have ended."""
    found = [each for each in executions(api, run_id, limit=1000) if each["scheduled_for"] == slot]
    return len(found) >= count and all(each["finished_at"] for each in found) and found


# --- retries, company

def test_a_run_that_times_out_is_tried_as_often_as_it_says(fleet):
    with fleet.client() as api:
        run_id = create(api, model_name="endless", parameters={"data": [[1]]}, timeout="200ms",
                        schedule=EVERY_SECOND,
                        retry={"max_attempts": 2, "backoff": "50ms", "max_backoff": "100ms"})
        slot = wait_for(lambda: executions(api, run_id), "a slot")[-1]["scheduled_for"]
        attempts = wait_for(lambda: finished_attempts(api, run_id, slot, 3), "three attempts")
        api.put(f"/api/scheduled/{run_id}", json={"enabled": False})
        assert [each["attempt"] for each in attempts] == [3, 2, 1]
        assert [each["trigger"] for each in attempts] == ["retry", "retry", "schedule"]
        assert {each["status"] for each in attempts} == {"timed_out"}
        assert {each["error"]["type"] for each in attempts} == {"TimedOut"}
        for later, earlier in zip(attempts, attempts[1:]):
            assert seconds_of(later["started_at"]) >= seconds_of(earlier["finished_at"])


def assert_on_time(api, run_id, since, until):
    """All slots in [since, until] were executed, each within the time that a loaded machine may need."""
    found = {seconds_of(each["scheduled_for"]): each for each in executions(api, run_id, limit=1000)
             if each["trigger"] == "schedule"}
    for slot in range(int(since) + 1, int(until) + 1):
        assert slot in found and found[slot]["status"] == "succeeded", found.get(slot, time.ctime(slot))
        assert seconds_of(found[slot]["started_at"]) - slot < 5


def wait_for_slot(api, run_id, after):
    """Until the first slot after that time has been executed."""
    wait_for(lambda: any(seconds_of(each["scheduled_for"]) > after
                         for each in executions(api, run_id, status="succeeded")), "a later slot")


def test_a_hanging_model_leaves_its_neighbour_on_time(fleet):
    with fleet.client() as api:
        fast = create(api, **line(schedule=EVERY_SECOND, overlap="allow"))
        wait_for_slot(api, fast, 0)
        since = time.time()
        hanging = create(api, model_name="endless", parameters={"data": [[1]]}, schedule=EVERY_SECOND,
                         overlap="allow", timeout="2s", retry={"max_attempts": 0})
        wait_for(lambda: executions(api, hanging, status="timed_out"), "a time-out")
        until = time.time()
        wait_for_slot(api, fast, until)
        assert_on_time(api, fast, since, until)


def test_many_triggers_do_not_starve_schedules(fleet):
    with fleet.client() as api:
        fast = create(api, **line(schedule=EVERY_SECOND, overlap="allow"))
        other = create(api, **line(enabled=False))
        wait_for_slot(api, fast, 0)
        stop = threading.Event()
        statuses = []

        def trigger():
            with fleet.client() as client:
                while not stop.is_set():
                    answer = client.post(f"/api/scheduled/{other}/trigger", headers={"Prefer": "respond-async"})
                    statuses.append(answer.status_code)

        callers = [threading.Thread(target=trigger) for _ in range(8)]
        since = time.time()
        for caller in callers:
            caller.start()
        time.sleep(3)
        until = time.time()
        stop.set()
        for caller in callers:
            caller.join()
        wait_for_slot(api, fast, until)
        assert_on_time(api, fast, since, until)
        assert set(statuses) <= {202, 503} and statuses.count(202) > 100


# --- stops

def test_a_stopped_daemon_catches_up(fleet):
    with fleet.client() as api:
        fill_fleet(fleet, api, 20, seed=6)
        wait_for_slot(api, next(iter(fleet.runs)), 0)
        fleet.daemon.process.send_signal(signal.SIGSTOP)
        stopped = time.time()
        wait_for(lambda: time.time() > stopped + 3, "three seconds")
        fleet.daemon.process.send_signal(signal.SIGCONT)
        fleet.finish(api)
    fleet.counts.assert_clean()


def workers_of(daemon):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(daemon.process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def test_a_stopped_worker_costs_one_execution_each(fleet):
    """All workers stand still: what they had times out, they are replaced, and all goes on."""
    with fleet.client() as api:
        run = fleet.create(api, 1, timeout="1s", overlap="allow", retry={"max_attempts": 0})
        wait_for_slot(api, run.run_id, 0)
        stopped = workers_of(fleet.daemon)
        assert len(stopped) == 3
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        at = time.time()
        wait_for(lambda: executions(api, run.run_id, status="timed_out"), "a time-out")
        wait_for_slot(api, run.run_id, at)
        fleet.finish(api)
    fleet.counts.assert_clean()


# --- start and end

def test_who_comes_while_it_starts_is_told_so(make_daemon, tmp_path):
    write_slow_loading_model(tmp_path, "slow")
    daemon = make_daemon(models=tmp_path)
    key = daemon.create_key("alice")
    daemon.spawn()
    daemon.url = "http://" + wait_for(daemon._address, "the port")
    with daemon.client(key) as api:
        answer = api.get("/api/scheduled")
        body = error_of(answer, 503, "ServiceUnavailable")
        assert "starting" in body["message"] and answer.headers["Retry-After"] == "1"
        assert api.get("/healthz").status_code == 200
        ready = api.get("/readyz")
        assert ready.status_code == 503 and ready.json()["status"] == "starting"
        wait_for(daemon._is_ready, "readiness")
        assert api.get("/api/scheduled").status_code == 200
    assert daemon.stop() == 0


def test_a_model_that_hangs_while_it_loads_keeps_nobody_waiting(make_daemon, tmp_path):
    """The others are served; it is tried once more, with more time."""
    write_line_model(tmp_path, "line", 1, 2, 1)
    write_slow_loading_model(tmp_path, "early", products=1000)
    daemon = make_daemon(models=tmp_path)
    key = daemon.create_key("alice")
    began = time.monotonic()
    daemon.start()
    assert time.monotonic() - began < 40  # it has a minute at other times
    with daemon.client(key) as api:
        assert api.post("/api/models/line/predict", json={"data": [[1]]}).status_code == 200
        version = api.get("/api/models/early").json()["versions"][0]
        assert not version["loads"] and "tried again" in version["reason"]
        wait_until_busy(daemon)  # with the second try
    assert daemon.stop() == 0


def test_a_client_that_leaves_before_its_prediction_leaks_nothing(fleet):
    """The end-to-end tests under the address sanitizer look at what is left when the daemon ends."""
    daemon = fleet.daemon
    host, port = daemon.url[len("http://"):].rsplit(":", 1)
    body = b'{"data": [[1], [2]]}'
    for _ in range(50):
        with socket.create_connection((host, int(port)), timeout=LIMIT_S) as connection:
            # Closed at once with a reset: SO_LINGER without time.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(b"POST /api/models/line/predict HTTP/1.1\r\nHost: x\r\nX-API-Key: "
                               + fleet.key.encode() + b"\r\nContent-Type: application/json\r\nContent-Length: "
                               + str(len(body)).encode() + b"\r\n\r\n" + body)
    with fleet.client() as api:
        assert api.post("/api/models/line/predict", json={"data": [[1]]}).status_code == 200
    assert daemon.stop() == 0


def test_connections_leave_descriptors_to_the_rest(make_daemon, models):
    """With a low limit of descriptors, connections are capped, and a flood of them is said once."""
    daemon = make_daemon(models=models, options=["--http-threads", "1", "--workers", "1"])
    daemon.prefix = ["sh", "-c", 'ulimit -n 128 && exec "$@"', "sh"]
    daemon.start()
    key = daemon.create_key("alice")
    assert "event=connections_capped asked=4096" in daemon.new_log()
    with daemon.client(key) as api:
        run_id = create(api, **line(schedule=EVERY_SECOND))
        wait_for_slot(api, run_id, 0)
        host, port = daemon.url[len("http://"):].rsplit(":", 1)
        flood = [socket.create_connection((host, int(port)), timeout=LIMIT_S) for _ in range(150)]
        try:
            wait_for(lambda: "event=connections_exhausted" in daemon.new_log(), "the flood to be noticed")
            at = time.time()
            for pid in workers_of(daemon):  # a new one needs descriptors
                        os.kill(pid, signal.SIGKILL)
            wait_for_slot(api, run_id, at + 1)
        finally:
            for connection in flood:
                connection.close()
        assert wait_for(lambda: httpx.get(daemon.url + "/healthz", timeout=LIMIT_S).status_code == 200)
    assert daemon.new_log().count("event=connections_exhausted") == 1
    assert daemon.stop() == 0


# --- disks

def mount_is_permitted():
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    return tried.returncode == 0


@pytest.fixture
def small_disk(make_daemon, models):
    """A daemon whose store is on a file system of 4 MB of its own, which this process reaches through /proc."""
    if not mount_is_permitted():
        pytest.skip("no mount in a user namespace is permitted here")
    daemon = make_daemon(models=models, options=["--workers", "2"])
    key = daemon.create_key("alice")
    disk = daemon.folder / "disk"
    disk.mkdir()
    daemon.prefix = ["unshare", "-rm", "sh", "-c", 'disk=$1 && shift && mount -t tmpfs -o size=4m none "$disk" && '
                     'mv "$disk"/../orrery.db* "$disk" && exec "$@"', "sh", str(disk)]
    daemon.db = disk / "orrery.db"
    daemon.start()
    return daemon, key, f"/proc/{daemon.process.pid}/root{disk}"


def fill(folder):
    with open(f"{folder}/ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"x" * 4096)
        except OSError:
            pass


def test_a_full_disk_is_said_and_survived(small_disk):
    daemon, key, folder = small_disk
    fleet = Fleet(daemon, key)
    with fleet.client() as api:
        fill_fleet(fleet, api, 10, seed=7)
        wait_for_slot(api, next(iter(fleet.runs)), 0)
        fill(folder)
        refused = wait_for(lambda: fleet.create(api) is None and fleet.refused, "a refusal")
        answer = api.post("/api/scheduled", json=line(schedule=EVERY_SECOND, name="refused"))
        if answer.status_code == 503:
            assert "nothing was changed" in error_of(answer, 503, "StoreError")["message"]
        assert refused and "the disk is full" in daemon.new_log()
        assert api.get("/api/scheduled").status_code == 200  # reads go on
        full = time.time()
        wait_for(lambda: time.time() > full + 2.5, "slots while the disk is full")
        os.unlink(f"{folder}/ballast")
        # By itself: nobody tells the daemon.
        wait_for(lambda: fleet.create(api) is not None, "the store to recover")
        there = {run["name"] for run in api.get("/api/scheduled", params={"limit": 1000}).json()}
        assert {run.name for run in fleet.runs.values()} <= there
        assert ("refused" in there) == (answer.status_code == 201)
        fleet.finish(api)
    fleet.counts.assert_clean()
    assert daemon.stop() == 0


def serve(db, models, prefix=()):
    """A daemon that is not expected to start."""
    return subprocess.run([*prefix, BINARY, "serve", "--listen", "127.0.0.1:0", "--db", str(db), "--models",
                           str(models)], capture_output=True, text=True, timeout=LIMIT_S)


def assert_refused(done, *words):
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    for word in words:
        assert str(word) in last, last


@pytest.fixture
def store(make_daemon, models):
    """A store that was used and closed."""
    daemon = make_daemon(models=models)
    daemon.start()
    with daemon.client(daemon.create_key("alice")) as api:
        create(api, **line())
    assert daemon.stop() == 0
    return daemon.db


def test_a_second_daemon_is_told_who_has_the_store(fleet, models):
    assert_refused(serve(fleet.daemon.db, models), fleet.daemon.db, f"process id {fleet.daemon.process.pid}", "stop")
    with fleet.client() as api:
        create(api, **line())


@pytest.mark.parametrize("harm, words", [
    ("newer", "newer"), ("poem", "not an orrery store"), ("foreign", "another program"), ("damaged", "damaged")])
def test_a_file_that_is_no_store_is_refused_and_left_alone(store, models, harm, words):
    if harm == "newer":
        with contextlib.closing(sqlite3.connect(store)) as database:
            database.execute("PRAGMA user_version = 99")
    elif harm == "poem":
        store.write_text("this is not a database, it is a poem\n" * 1000)
    elif harm == "foreign":
        store.unlink()
        with contextlib.closing(sqlite3.connect(store)) as database:
            database.execute("CREATE TABLE users (name)")
    else:
        with open(store, "r+b") as database:
            database.seek(100)
            database.write(b"\xa5" * 8000)
    before = store.read_bytes()
    assert_refused(serve(store, models), store, words)
    assert store.read_bytes() == before


def test_a_store_that_cannot_be_written_is_refused(store, models):
    """On a file system that is mounted read-only, which stops root too."""
    if not mount_is_permitted():
        pytest.skip("no mount in a user namespace is permitted here")
    before = store.read_bytes()
    prefix = ["unshare", "-rm", "sh", "-c", 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && '
              'exec "$@"', "sh", str(store.parent)]
    assert_refused(serve(store, models, prefix), store, "Read-only file system")
    assert store.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path, models):
    assert_refused(serve(tmp_path / "no" / "such" / "orrery.db", models), tmp_path / "no" / "such")
    assert not (tmp_path / "no").exists()

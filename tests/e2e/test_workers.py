"""Workers that crash, hang, run out of memory or are killed: each costs its own execution, and nobody else's."""

import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import (BINARY, create, executions, wait_for, worker_pids, write_line_model, write_model,
                      write_slow_model)
from ledger import seconds_of

ONCE = {"max_attempts": 0}
LONG = {"inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [2**40]}]}
HUGE = {"inputs": [{"name": "shape", "shape": [1], "datatype": "INT64", "data": [10**11]}]}
LATE_S = 0.1
# A sanitizer's allocator reserves what it is asked for, and is several times slower.
IS_SANITIZED = "asan" in BINARY or "tsan" in BINARY


def write_huge_model(models, name):
    """As many zeros as it is told, added up: with a large number it wants hundreds of gigabytes."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
         helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0)],
        name, [helper.make_tensor_value_info("shape", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [])])
    write_model(models, name, 1, graph)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_line_model(folder, "line", 1, 2, 1)
    write_slow_model(folder, "slow")
    write_huge_model(folder, "huge")
    write_line_model(folder, "rotten", 1, 2, 1)
    return folder


def corrupt(file):
    """In one step, as a broken copy would be moved in."""
    good = file.read_bytes()
    broken = file.with_suffix(".new")
    broken.write_bytes(good[:len(good) // 2] + b"\xff" * 40)
    broken.rename(file)


@pytest.fixture(scope="module")
def daemon(make_daemon, models):
    return make_daemon(models, options=["--workers", "3"]).start()


def trigger(api, run_id):
    answer = api.post(f"/api/scheduled/{run_id}/trigger", headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    return answer.json()["execution_id"]


def end_of(api, execution_id):
    def ended():
        found = api.get(f"/api/executions/{execution_id}").json()
        return found["status"] not in ("queued", "running") and found
    return wait_for(ended, "the end")


def ticks_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11])


def busiest_worker(daemon):
    """The worker that computes, once one has done so for a tenth of a second."""
    start = {pid: ticks_of(pid) for pid in worker_pids(daemon)}

    def found():
        return [pid for pid, ticks in start.items() if ticks_of(pid) > ticks + 10]
    return wait_for(found, "a busy worker")[0]


def kill_busy(api, daemon, run_id):
    execution_id = trigger(api, run_id)
    wait_for(lambda: api.get(f"/api/executions/{execution_id}").json()["status"] == "running", "the start")
    os.kill(busiest_worker(daemon), signal.SIGKILL)
    return end_of(api, execution_id)


def test_each_ends_its_own_execution_and_the_good_one_stays_on_time(api, daemon, models):
    good = create(api, model_name="line", parameters={"data": [[1.0]]}, schedule="* * * * * *", overlap="allow")
    wait_for(lambda: executions(api, good, status="succeeded"), "the first slot")
    since = time.time()

    hanging = create(api, model_name="slow", parameters=LONG, timeout="1s", retry=ONCE)
    hung = end_of(api, trigger(api, hanging))
    assert hung["status"] == "timed_out" and hung["error"]["type"] == "TimedOut"
    assert hung["error"]["message"] == "not finished within 1s; the worker was killed"

    if not IS_SANITIZED:
        huge = create(api, model_name="huge", parameters=HUGE, timeout="5s", retry=ONCE)
        asked = end_of(api, trigger(api, huge))
        assert asked["status"] == "failed" and asked["error"]["type"] == "ModelError"
        assert "allocate" in asked["error"]["message"]

    rotten = create(api, model_name="rotten", parameters={"data": [[1.0]]}, retry=ONCE)
    assert end_of(api, trigger(api, rotten))["status"] == "succeeded"
    corrupt(models / "rotten" / "1" / "model.onnx")
    wait_for(lambda: not api.get("/api/models/rotten").json()["versions"][0]["loads"], "the change")
    refused = end_of(api, trigger(api, rotten))
    assert refused["status"] == "failed" and refused["error"]["type"] == "ModelUnavailable"
    assert "protobuf parsing failed" in refused["error"]["message"]

    killed = kill_busy(api, daemon, create(api, model_name="slow", parameters=LONG, timeout="60s", retry=ONCE))
    assert killed["status"] == "failed" and killed["error"]["type"] == "WorkerCrashed"
    assert killed["error"]["message"] == "the worker process was killed by signal 9 (Killed)"

    until = time.time()
    wait_for(lambda: any(seconds_of(each["scheduled_for"]) > until
                         for each in executions(api, good, status="succeeded")), "a later slot")
    found = {seconds_of(each["scheduled_for"]): each for each in executions(api, good, limit=1000)}
    late = []
    for slot in range(int(since) + 1, int(until) + 1):
        assert found[slot]["status"] == "succeeded", found[slot]
        late.append(seconds_of(found[slot]["started_at"]) - slot)
    assert max(late) < (5 if IS_SANITIZED else LATE_S), late
    api.delete(f"/api/scheduled/{good}")


def test_a_killed_worker_costs_an_attempt_and_the_retry_succeeds(api, daemon):
    """Enough rounds for a kill in the first attempt, and few enough for the second to end soon."""
    rounds = {"inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [600_000]}]}
    run_id = create(api, model_name="slow", parameters=rounds, timeout="60s", schedule="* * * * * *",
                    retry={"max_attempts": 2, "backoff": "100ms"})
    wait_for(lambda: executions(api, run_id, status="running"), "the start")
    os.kill(busiest_worker(daemon), signal.SIGKILL)
    first = wait_for(lambda: executions(api, run_id, status="failed"), "its end")[0]
    assert first["attempt"] == 1 and first["error"]["type"] == "WorkerCrashed"
    second = wait_for(lambda: [each for each in executions(api, run_id, status="succeeded")
                               if each["scheduled_for"] == first["scheduled_for"]], "the second attempt")[0]
    assert second["attempt"] == 2 and second["result"]["outputs"][0]["data"] == [600_000]
    api.delete(f"/api/scheduled/{run_id}")


def test_memory_has_a_limit(make_daemon, models):
    if IS_SANITIZED:
        pytest.skip("a sanitizer needs more address space than any limit")
    daemon = make_daemon(models, options=["--workers", "1", "--worker-memory", "2G"])
    key = daemon.create_key("alice")
    daemon.start()
    with daemon.client(key) as api:
        few = {"inputs": [{"name": "shape", "shape": [1], "datatype": "INT64", "data": [10**9]}]}
        answer = api.post("/api/models/huge/predict", json=few)
        assert answer.status_code == 500 and answer.json()["error"] == "ModelError"
        assert "allocate" in answer.json()["message"]
        # Nothing had to be replaced for that.
        assert api.post("/api/models/line/predict", json={"data": [[3]]}).json()["outputs"][0]["data"] == [7.0]
    assert "worker_lost" not in daemon.new_log()


def test_a_model_that_keeps_crashing_is_out_until_it_is_replaced(make_daemon, tmp_path):
    write_slow_model(tmp_path, "slow")
    write_line_model(tmp_path, "line", 1, 2, 1)
    daemon = make_daemon(tmp_path, options=["--workers", "2"])
    key = daemon.create_key("alice")
    daemon.start()
    with daemon.client(key) as api:
        run_id = create(api, model_name="slow", parameters=LONG, timeout="60s", retry=ONCE)
        for _ in range(3):
            assert "available_again_at" not in api.get("/api/models/slow").json()
            assert kill_busy(api, daemon, run_id)["error"]["type"] == "WorkerCrashed"
        model = api.get("/api/models/slow").json()
        assert model["reason"] == ("it has crashed its worker 3 times in a row; the last was killed by signal 9 "
                                   "(Killed)")
        assert 0 < seconds_of(model["available_again_at"]) - time.time() <= 2
        refused = end_of(api, trigger(api, run_id))
        assert refused["error"]["type"] == "ModelUnavailable" and refused["started_at"] is None
        assert refused["error"]["message"] == model["reason"] + "; it is tried again at " + \
            model["available_again_at"]
        # Others are served, and a new version of it at once.
        assert api.post("/api/models/line/predict", json={"data": [[3]]}).status_code == 200
        write_line_model(tmp_path, "slow", 2, 5, 0)
        wait_for(lambda: api.get("/api/models/slow").json()["serving_version"] == 2, "the new version")
        assert api.post("/api/models/slow/predict", json={"data": [[3]]}).json()["outputs"][0]["data"] == [15.0]


def test_a_model_that_crashed_is_tried_again_in_time(make_daemon, tmp_path):
    write_slow_model(tmp_path, "slow")
    daemon = make_daemon(tmp_path, options=["--workers", "2"])
    key = daemon.create_key("alice")
    daemon.start()
    few = {"inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [10]}]}
    with daemon.client(key) as api:
        run_id = create(api, model_name="slow", parameters=LONG, timeout="60s", retry=ONCE)
        for _ in range(3):
            kill_busy(api, daemon, run_id)
        assert api.post("/api/models/slow/predict", json=few).status_code == 503
        wait_for(lambda: api.post("/api/models/slow/predict", json=few).status_code == 200, "its time")
        # A success ends it: the next crash is the first again.
        assert kill_busy(api, daemon, run_id)["error"]["type"] == "WorkerCrashed"
        assert "available_again_at" not in api.get("/api/models/slow").json()


def test_a_link_that_leads_outside_is_followed_even_if_it_is_new(make_daemon, tmp_path):
    outside = tmp_path / "outside"
    models = tmp_path / "models"
    models.mkdir()
    write_line_model(outside, "line", 1, 2, 1)
    write_line_model(models, "first", 1, 1, 0)
    daemon = make_daemon(models, options=["--workers", "2"])
    key = daemon.create_key("alice")
    daemon.start()
    with daemon.client(key) as api:
        for _ in range(4):
            assert api.post("/api/models/first/predict", json={"data": [[3]]}).status_code == 200
        (models / "linked").symlink_to(outside / "line")
        wait_for(lambda: api.get("/api/models/linked").json().get("serving_version") == 1, "the model")
        for _ in range(20):
            assert api.post("/api/models/linked/predict", json={"data": [[3]]}).json()["outputs"][0]["data"] == [7.0]
            assert api.post("/api/models/first/predict", json={"data": [[3]]}).status_code == 200
    assert "worker_lost" not in daemon.new_log()


def write_heavy_model(models, name, version, megabytes):
    """y = x + w[0] with that many megabytes of weights."""
    import numpy
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(numpy.full((megabytes << 18,), version, dtype=numpy.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["w"], ["most"], keepdims=0),
         helper.make_node("Add", ["x", "most"], ["y"])],
        name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])], [weights])
    write_model(models, name, version, graph)


def resident_megabytes(daemon):
    return [int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20
            for pid in worker_pids(daemon)]


def test_loaded_models_stay_within_their_bytes(make_daemon, tmp_path):
    """Eight models of 24 MB each in a cache of 30 MB: all answer, and a worker never has them all."""
    for number in range(8):
        write_heavy_model(tmp_path, f"heavy-{number}", 1, 24)
    daemon = make_daemon(tmp_path, options=["--workers", "1", "--worker-cache", "30M"])
    key = daemon.create_key("alice")
    daemon.start()
    with daemon.client(key) as api:
        for number in range(8):
            answer = api.post(f"/api/models/heavy-{number}/predict", json={"data": [[3]]})
            assert answer.json()["outputs"][0]["data"] == [4.0]
            if not IS_SANITIZED:
                # a model, a second while it is loaded, its file, what the heap keeps, the process; all are over 400
                # (none is there for a moment while one that has grown is replaced)
                resident = resident_megabytes(daemon)
                assert max(resident, default=0) < 200, resident
    assert "worker_lost" not in daemon.new_log()


def test_doctor_says_what_is_in_force(models, tmp_path):
    done = subprocess.run([BINARY, "doctor", "--db", str(tmp_path / "x.db"), "--models", str(models)],
                          capture_output=True, text=True, timeout=60)
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines() if " sandbox " in line]
    assert [line[2].split(":")[0] for line in lines] == [
        "no new privileges", "no tracing, no core dumps", "system calls (seccomp)", "files (Landlock)",
        "signals (Landlock)", "resource limits"]
    for state, _, text in lines:
        lacks = text.endswith("this kernel lacks it, or has it off") and "Landlock" in text
        assert (state, text.split(": ")[1]) == ("ok", "in force") or (state == "warning" and lacks), done.stdout
    assert "FAILED" not in "".join(line[0] for line in lines)


def test_a_worker_has_nothing_of_the_daemon(make_daemon, models):
    daemon = make_daemon(models, options=["--workers", "1"],
                         environment={"ORRERY_SECRET_OF_TESTS": "x", "AWS_SECRET": "y"}).start()
    pid = worker_pids(daemon)[0]
    variables = {item.split(b"=")[0] for item in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if item}
    assert variables <= {b"PATH", b"LANG", b"LC_ALL", b"TZ", b"LD_LIBRARY_PATH", b"ASAN_OPTIONS", b"UBSAN_OPTIONS",
                         b"TSAN_OPTIONS", b"LSAN_OPTIONS"}
    files = {os.readlink(path) for path in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
    assert {each for each in files if "socket:" not in each} <= {"/dev/null", str(daemon.log), f"/proc/{pid}/statm"}
    assert sum("socket:" in each for each in files) == 1
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    assert pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"

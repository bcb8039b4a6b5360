"""Backend process: commands as models, what they get, what they may, and every way in which they end."""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import BINARY, ROOT, create, wait_for, write_line_model, worker_pids

ONCE = {"max_attempts": 0}


def write_command(models, name, script, version=1, **settings):
    """A model that is a Python script, made beside the folder and moved in."""
    folder = pathlib.Path(models) / name
    staging = pathlib.Path(models) / f".{name}.new"
    (staging / str(version)).mkdir(parents=True)
    (staging / "model.json").write_text(json.dumps(
        {"backend": "process", "command": ["/usr/bin/python3", "predict.py"], **settings}))
    (staging / str(version) / "predict.py").write_text(script)
    staging.rename(folder)


ADD = "import json, sys\njson.dump({'sum': sum(json.load(sys.stdin)['data'])}, sys.stdout)\n"
SCRIPTS = {
    "add": ADD,
    "surroundings": """
import json, os, sys
json.dump({"environment": dict(os.environ), "folder": os.getcwd(), "files": sorted(os.listdir("/proc/self/fd")),
           "temporary": os.listdir(os.environ["TMPDIR"])}, sys.stdout)
""",
    "failing": "import sys\nprint('first', file=sys.stderr)\nsys.exit('the \\x1b[1mcoefficients are gone')\n",
    "later": "import sys\nsys.exit(75)\n",
    "crashing": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "chatty": "print('{\"a\": 1} and so on')\n",
    "silent": "",
    "endless": "while True: pass\n",
    "stubborn": """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    while True: time.sleep(1)
while True: time.sleep(1)
""",
    "leaving": """
import os, time
if os.fork() == 0:
    while True: time.sleep(1)
print(os.getpid())
""",
    "flooding": "import sys\nwhile True: sys.stdout.write('1' * 65536)\n",
    "curious": """
import ctypes, json, os, socket, subprocess, sys
found = {}
def attempt(name, action):
    try:
        action()
        found[name] = "done"
    except OSError as error:
        found[name] = type(error).__name__
given = json.load(sys.stdin)
attempt("read the store", lambda: open(given["store"]).read(1))
attempt("read another model", lambda: os.listdir(given["neighbour"]))
attempt("write the model", lambda: open("predict.py", "a"))
attempt("write /tmp", lambda: open("/tmp/orrery-was-here", "w"))
attempt("write its own folder", lambda: open(os.environ["TMPDIR"] + "/x", "w").write("x"))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", given["port"])))
attempt("connect nearby", lambda: socket.socket(socket.AF_UNIX))
attempt("signal the daemon", lambda: os.kill(os.getppid(), 0))
attempt("leave the group", os.setsid)
attempt("start a program", lambda: subprocess.run(["/bin/true"], check=True))
json.dump(found, sys.stdout)
""",
    "waiting": "import time\ntime.sleep(3600)\n",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_line_model(folder, "line", 1, 2, 1)
    for name, script in SCRIPTS.items():
        write_command(folder, name, script, **({"environment": {"LEVEL": "7", "LANG": "de_DE.UTF-8"}}
                                               if name == "surroundings" else {}))
    write_command(folder, "networked", SCRIPTS["curious"], network=True)
    write_command(folder, "bounded", "print('[' + '1,' * 100 + '1]')\n", output_limit=100)
    write_command(folder, "greedy", "x = bytearray(300 << 30)\nprint(len(x))\n", memory_limit=2 << 30)
    write_command(folder, "absent", "", command=["no-such-program"])
    write_command(folder, "wrong", "", comand=[])
    return folder


@pytest.fixture(scope="module")
def daemon(make_daemon, models):
    return make_daemon(models, options=["--workers", "1"], environment={"ORRERY_SECRET_OF_TESTS": "x", "SECRET": "y"}
                       ).start()


def run_once(api, name, parameters=None, **fields):
    """One execution and its end."""
    run_id = create(api, model_name=name, parameters=parameters or {}, retry=ONCE, **fields)
    answer = api.post(f"/api/scheduled/{run_id}/trigger")
    assert answer.status_code == 200, answer.text
    return answer.json()


def result_of(api, name, parameters=None):
    execution = run_once(api, name, parameters)
    assert execution["status"] == "succeeded", execution
    return execution["result"]


def failure_of(api, name, error_type, **fields):
    execution = run_once(api, name, **fields)
    assert execution["status"] == "failed" and execution["error"]["type"] == error_type, execution
    return execution["error"]["message"]


def commands_of(daemon):
    """Process ids of all descendants of the daemon but its workers."""
    return [pid for pid in worker_pids(daemon)
            if b"worker" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]


def processes_with(text):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def test_a_script_is_a_model(api):
    assert result_of(api, "add", {"data": [1, 2, 39]}) == {"sum": 42}
    answer = api.post("/api/models/add/predict", json={"data": [20, 22]})
    assert answer.status_code == 200 and answer.json() == {"sum": 42}
    model = api.get("/api/models/add").json()
    assert model["backend"] == "process" and model["serving_version"] == 1


def test_it_gets_what_it_is_told_and_nothing_else(api, models):
    run_id = create(api, model_name="surroundings", parameters={})
    execution = api.post(f"/api/scheduled/{run_id}/trigger").json()
    seen = execution["result"]
    environment = seen["environment"]
    assert seen["folder"] == str(models / "surroundings" / "1")
    assert seen["files"] == ["0", "1", "2", "3"]  # the last is the listing's own
    assert environment["LEVEL"] == "7" and environment["LANG"] == "de_DE.UTF-8"
    assert environment["ORRERY_EXECUTION_ID"] == execution["execution_id"]
    assert environment["ORRERY_RUN_ID"] == run_id and environment["ORRERY_ATTEMPT"] == "1"
    assert environment["ORRERY_SCHEDULED_FOR"] == execution["scheduled_for"]
    assert set(environment) - {"LC_CTYPE"} == {
        "LEVEL", "LANG", "PATH", "HOME", "TMPDIR", "ORRERY_EXECUTION_ID", "ORRERY_RUN_ID", "ORRERY_ATTEMPT",
        "ORRERY_SCHEDULED_FOR"}
    assert seen["temporary"] == [] and not os.path.exists(environment["TMPDIR"])


def test_large_parameters_and_results_pass(api):
    numbers = list(range(300_000))
    assert result_of(api, "add", {"data": numbers}) == {"sum": sum(numbers)}


@pytest.mark.parametrize("name, error_type, words", [
    ("failing", "ModelError", "the command ended with status 1: first the  [1mcoefficients are gone"),
    ("later", "ModelUnavailable", "the command ended with status 75"),
    ("crashing", "WorkerCrashed", "the command was killed by signal 11 (Segmentation fault)"),
    ("chatty", "ModelError", "what the command wrote on standard output is not JSON: unexpected content after "
                             "document at byte 10: {\"a\": 1} and so on"),
    ("silent", "ModelError", "the command wrote nothing on standard output; expected a JSON value"),
    ("bounded", "ModelError", "the command wrote more than 100 bytes on standard output"),
    ("flooding", "ModelError", f"the command wrote more than {16 << 20} bytes on standard output"),
    ("absent", "ModelUnavailable", "the command ended with status 127: orrery: no-such-program: No such file or "
                                   "directory"),
])
def test_every_failure_is_told(api, name, error_type, words):
    assert failure_of(api, name, error_type) == words


def test_memory_has_a_limit(api):
    assert "MemoryError" in failure_of(api, "greedy", "ModelError")


def test_what_does_not_end_is_ended_with_all_it_started(api, daemon):
    for name in ("endless", "stubborn"):
        began = time.monotonic()
        execution = run_once(api, name, timeout="1s")
        assert execution["status"] == "timed_out" and execution["error"]["type"] == "TimedOut"
        assert execution["error"]["message"] == "not finished within 1s; the command was ended"
        assert time.monotonic() - began < 10
        wait_for(lambda: not processes_with(execution["execution_id"]), "the end of all")
    assert not commands_of(daemon)


def test_what_it_leaves_behind_ends_with_it(api):
    execution = run_once(api, "leaving")
    assert execution["status"] == "succeeded"
    wait_for(lambda: not processes_with(execution["execution_id"]), "the end of all")


def test_it_is_cancelled(api, daemon):
    run_id = create(api, model_name="waiting", parameters={})
    execution_id = api.post(f"/api/scheduled/{run_id}/trigger",
                            headers={"Prefer": "respond-async"}).json()["execution_id"]
    wait_for(lambda: processes_with(execution_id), "the start")
    cancelled = api.post(f"/api/executions/{execution_id}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert not processes_with(execution_id)


def doctor(folder, models):
    done = subprocess.run([BINARY, "doctor", "--db", str(folder / "x.db"), "--models", str(models)],
                          capture_output=True, text=True, timeout=60)
    return done.stdout


def test_it_is_in_a_sandbox(api, daemon, models, tmp_path):
    given = {"store": str(daemon.db), "neighbour": str(models / "add"),
             "port": int(daemon.url.rsplit(":", 1)[1])}
    found = result_of(api, "curious", given)
    in_force = doctor(tmp_path, models)
    landlock = dict.fromkeys(["read the store", "read another model", "write the model", "write /tmp"]
                             if "files (Landlock): in force" in in_force else [], "PermissionError")
    if "signals (Landlock): in force" in in_force:
        landlock["signal the daemon"] = "PermissionError"
    always = {"write its own folder": "done", "connect": "PermissionError", "connect nearby": "PermissionError",
              "leave the group": "PermissionError", "start a program": "done"}
    assert found == found | landlock | always
    found = result_of(api, "networked", given)
    assert found == found | landlock | always | {"connect": "done"}


def test_a_change_of_the_script_is_another_model(api, models):
    write_command(models, "changing", "print(1)\n")
    wait_for(lambda: api.get("/api/models/changing").status_code == 200, "the model")
    digest = api.get("/api/models/changing").json()["versions"][0]["digest"]
    first = run_once(api, "changing")
    assert first["result"] == 1 and first["model_digest"] == digest
    (models / "changing" / "1" / "predict.py").write_text("print(2)\n")
    wait_for(lambda: api.get("/api/models/changing").json()["versions"][0]["digest"] != digest, "the change")
    second = run_once(api, "changing")
    assert second["result"] == 2 and second["model_digest"] != digest


def test_a_wrong_model_json_is_told(api):
    model = api.get("/api/models/wrong").json()
    assert model["reason"] == ("model.json: unknown key 'comand'; known for backend process are backend, "
                               "max_concurrency, timeout, command, environment, readable, network, output_limit, "
                               "memory_limit")


def test_the_stop_of_the_daemon_ends_commands(make_daemon, models):
    daemon = make_daemon(models, options=["--workers", "1", "--drain-limit", "0s"])
    key = daemon.create_key("alice")
    daemon.start()
    with daemon.client(key) as api:
        run_id = create(api, model_name="waiting", parameters={}, retry=ONCE)
        execution_id = api.post(f"/api/scheduled/{run_id}/trigger",
                                headers={"Prefer": "respond-async"}).json()["execution_id"]
        wait_for(lambda: processes_with(execution_id), "the start")
    assert daemon.stop() == 0
    assert not processes_with(execution_id)


def test_the_death_of_the_daemon_ends_commands(make_daemon, models):
    daemon = make_daemon(models, options=["--workers", "1"])
    key = daemon.create_key("alice")
    daemon.start()
    with daemon.client(key) as api:
        run_id = create(api, model_name="waiting", parameters={}, retry=ONCE)
        execution_id = api.post(f"/api/scheduled/{run_id}/trigger",
                                headers={"Prefer": "respond-async"}).json()["execution_id"]
        wait_for(lambda: processes_with(execution_id), "the start")
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    wait_for(lambda: not processes_with(execution_id), "the end of the command")


def test_the_example_is_a_model(make_daemon, tmp_path):
    made = subprocess.run(["/usr/bin/python3", str(ROOT / "examples" / "process" / "train.py"), str(tmp_path)],
                          capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    daemon = make_daemon(tmp_path, options=["--workers", "1"])
    key = daemon.create_key("alice")
    daemon.start()
    with daemon.client(key) as api:
        answer = api.post("/api/models/iris/predict", json={"data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]})
        assert answer.status_code == 200 and answer.json() == {"species": ["setosa", "virginica"]}, answer.text

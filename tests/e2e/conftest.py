"""What the end-to-end tests share: a daemon of their own on a free port, keys, clients, tiny models.

They speak only HTTP and signals to the real binary (ORRERY_BINARY, by default build/orrery). They wait for
conditions, never for time.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import httpx
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("ORRERY_BINARY", str(ROOT / "build" / "orrery"))
EXAMPLE_MODELS = ROOT / "examples" / "models"
LIMIT_S = 60
REPORTS = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|assertion", re.I)


def wait_for(condition, what="it", limit_s=LIMIT_S):
    """Asks until the condition gives something true, which is returned."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit_s} s in vain for {what}")
        time.sleep(0.01)


class Daemon:
    """One orrery serve, with its store and its models in a folder of its own."""

    def __init__(self, folder, models=EXAMPLE_MODELS, options=(), environment=None, listen="127.0.0.1:0"):
        self.folder = pathlib.Path(folder)
        self.db = self.folder / "orrery.db"
        self.models = pathlib.Path(models)
        self.log = self.folder / "orrery.log"
        self.options = list(options)
        self.listen = listen  # or "unix:PATH"
        self.socket = None
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        self.url = None
        self.log_start = 0
        self.prefix = []  # a program that runs the daemon, such as unshare(1), in its own place

    def spawn(self):
        """Starts it and waits for nothing."""
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, BINARY, "serve", "--listen", self.listen, "--db", str(self.db),
                 "--models", str(self.models), *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=self.environment)

    def start(self):
        self.spawn()
        address = wait_for(self._address, "the port")
        self.socket = address[len("unix:"):] if address.startswith("unix:") else None
        self.url = "http://orrery" if self.socket else "http://" + address
        wait_for(self._is_ready, "readiness")
        return self

    def new_log(self):
        """What was logged since the last start."""
        with open(self.log, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode("utf-8", "replace")

    def _check_alive(self):
        if self.process.poll() is not None:
            raise AssertionError(
                f"the daemon ended with {self.process.returncode}:\n{self.new_log()[-4000:]}")

    def _address(self):
        self._check_alive()
        found = re.search(r"event=listening.* address=(\S+)", self.new_log())
        return found and found.group(1)

    def _is_ready(self):
        self._check_alive()
        with self.client() as client:
            return client.get("/readyz").status_code == 200

    def stop(self):
        """SIGTERM; the exit status, which is 0 if all is well."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def kill(self):
        self.process.kill()
        self.process.wait(LIMIT_S)

    def restart(self):
        assert self.stop() == 0
        return self.start()

    def create_key(self, owner, admin=False):
        arguments = [BINARY, "key", "create", "--owner", owner, "--db", str(self.db)]
        if admin:
            arguments.append("--admin")
        created = subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT_S)
        assert created.returncode == 0, created.stderr
        return created.stdout.strip()

    def client(self, key=None, **headers):
        if key is not None:
            headers["Authorization"] = "Bearer " + key
        transport = httpx.HTTPTransport(uds=self.socket) if self.socket else None
        return httpx.Client(base_url=self.url, headers=headers, timeout=LIMIT_S, transport=transport)

    def end(self):
        """For teardown: a daemon that still runs must stop in good order; no sanitizer may have complained."""
        try:
            if self.process is not None and self.process.poll() is None:
                status = self.stop()
                assert status == 0, f"exit status {status}:\n{self.new_log()[-4000:]}"
        finally:
            if self.process is not None and self.process.poll() is None:
                self.kill()
        log = self.log.read_text("utf-8", "replace")
        found = REPORTS.search(log)
        assert not found, log[max(0, found.start() - 500):][:8000]


@pytest.fixture(scope="module")
def make_daemon(tmp_path_factory):
    """Makes daemons that are ended with the module."""
    daemons = []

    def make(models=EXAMPLE_MODELS, options=(), environment=None, listen="127.0.0.1:0"):
        daemon = Daemon(tmp_path_factory.mktemp("orrery"), models, options, environment, listen)
        daemons.append(daemon)
        return daemon

    yield make
    for daemon in daemons:
        daemon.end()


@pytest.fixture(scope="module")
def daemon(make_daemon):
    return make_daemon().start()


@pytest.fixture(scope="module")
def key(daemon):
    return daemon.create_key("alice")


@pytest.fixture(scope="module")
def api(daemon, key):
    with daemon.client(key) as client:
        yield client


@pytest.fixture(scope="module")
def own_models(tmp_path_factory):
    """A folder of models that tests may change, with one model `line`: y = x * 2 + 1."""
    folder = tmp_path_factory.mktemp("models")
    write_line_model(folder, "line", 1, 2, 1)
    return folder


def write_line_model(models, name, version, factor, offset, shape=("n", 1)):
    """Writes <models>/<name>/<version>/model.onnx: y = x * factor + offset, for one float input."""
    from onnx import TensorProto, helper

    constants = [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor]),
                 helper.make_tensor("offset", TensorProto.FLOAT, [], [offset])]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["product"]),
         helper.make_node("Add", ["product", "offset"], ["y"])],
        name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], constants)
    write_model(models, name, version, graph)


def write_model(models, name, version, graph):
    from onnx import checker, helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    checker.check_model(model)
    place = pathlib.Path(models) / name / str(version)
    # Made beside the folder and moved in whole, as an operator should: nobody sees half a file.
    staging = pathlib.Path(str(place) + ".new")
    staging.mkdir(parents=True)
    (staging / "model.onnx").write_bytes(model.SerializeToString())
    shutil.move(staging, place)


def write_slow_model(models, name):
    """Writes <models>/<name>/1/model.onnx: counts to `rounds`, about two microseconds a round, and gives the
    count."""
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [helper.make_node("Add", ["count_in", "one"], ["count_out"]),
         helper.make_node("Identity", ["go_on"], ["go_on_out"])],
        "round", [helper.make_tensor_value_info("round", TensorProto.INT64, []),
                  helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
                  helper.make_tensor_value_info("count_in", TensorProto.DOUBLE, [])],
        [helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
         helper.make_tensor_value_info("count_out", TensorProto.DOUBLE, [])])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "", "zero"], ["count"], body=body)],
        name, [helper.make_tensor_value_info("rounds", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("count", TensorProto.DOUBLE, [])],
        [helper.make_tensor("zero", TensorProto.DOUBLE, [], [0]),
         helper.make_tensor("one", TensorProto.DOUBLE, [], [1])])
    write_model(models, name, 1, graph)


def write_slow_loading_model(models, name, products=12, size=1500):
    """A model that takes seconds to load: matrices are multiplied while its graph is folded."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["m0"],
                              value=helper.make_tensor("value", TensorProto.FLOAT, [1], [1e-3]))]
    nodes += [helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(products)]
    nodes += [helper.make_node("ReduceMax", [f"m{products}"], ["most"], keepdims=0),
              helper.make_node("Add", ["x", "most"], ["y"])]
    graph = helper.make_graph(
        nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [size, size])])
    write_model(models, name, 1, graph)


def worker_pids(daemon):
    pid = daemon.process.pid
    children = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for child in " ".join(path.read_text() for path in children).split()]


def worker_ticks(daemon):
    """What the workers have computed so far, in clock ticks."""
    return sum(int(pathlib.Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[11])
               for worker in worker_pids(daemon))


def wait_until_busy(daemon):
    start = worker_ticks(daemon)
    wait_for(lambda: worker_ticks(daemon) > start + 10, "the model to run")


def run_body(**fields):
    """A valid scheduled run of the diabetes model that does not fire while the tests go on."""
    body = {"model_name": "diabetes", "schedule": "0 3 1 1 *",
            "parameters": {"data": [[52, 1, 28.5, 110, 195, 97.2, 60, 3, 5.2417, 85]]}}
    body.update(fields)
    return body


def create(api, **fields):
    """Creates a scheduled run and gives its id."""
    answer = api.post("/api/scheduled", json=run_body(**fields))
    assert answer.status_code == 201, answer.text
    return answer.json()["run_id"]


def error_of(answer, status, name=None):
    """Checks the error body of the contract and gives it."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    body = answer.json()
    assert set(body) - {"details"} == {"error", "message", "status_code", "correlation_id"}
    assert body["status_code"] == status
    assert isinstance(body["error"], str) and body["error"]
    assert isinstance(body["message"], str) and body["message"]
    assert body["correlation_id"] == answer.headers["X-Correlation-ID"]
    if name is not None:
        assert body["error"] == name, body
    return body


def executions(api, run_id, **query):
    answer = api.get(f"/api/scheduled/{run_id}/executions", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()

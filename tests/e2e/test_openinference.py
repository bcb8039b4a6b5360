"""Models on servers of the Open Inference Protocol: whether they are ready, what they take, and parameters in orrery's
own form."""

import http.server
import json
import threading
import time

import pytest
from conftest import create, executions, wait_for
from test_remote import put, trigger

METADATA = {"name": "sum", "versions": ["1"], "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.server.paths.append(self.path)
        self.server.headers = dict(self.headers)
        if self.path == "/v2/models/sum/ready":
            self.answer(*((200, {}) if self.server.is_ready else (503, {"error": "it is loading"})))
        elif self.path == "/v2/models/sum":
            self.answer(200, self.server.metadata)
        elif self.path.startswith("/v2/models/slow"):
            self.server.released.wait(60)
            self.close_connection = True
        else:
            self.answer(404, {"error": "Request for unknown model"})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        self.server.asked.append(asked)
        tensor = asked["inputs"][0]
        if tensor["name"] != self.server.metadata["inputs"][0]["name"]:
            self.answer(400, {"error": "unexpected inference input '%s'" % tensor["name"]})
            return
        values = tensor["data"]
        rows = [values[i] + values[i + 1] for i in range(0, len(values), 2)]
        self.answer(200, {"model_name": "sum", "model_version": "1", "outputs": [
            {"name": "y", "shape": [len(rows)], "datatype": "FP32", "data": rows}]})


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.paths, server.asked, server.metadata, server.is_ready = [], [], METADATA, True
        server.released = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield server
        server.released.set()
        server.shutdown()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def daemon(make_daemon, models, tmp_path_factory):
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "key").write_text("a-key\n")
    return make_daemon(models, ["--secrets", str(secrets)]).start()


def put_sum(models, server, name, **settings):
    return put(models, name, backend="openinference", url=server.url + "/", **{"model": "sum", **settings})


def test_rows_become_a_request_by_what_the_server_says_it_takes(api, models, server):
    model = put_sum(models, server, "rows")
    execution = trigger(api, model, {"data": [[1, 2], [3, 4.5]]})
    assert execution["status"] == "succeeded", execution
    assert execution["result"]["outputs"][0]["data"] == [3, 7.5]
    assert server.asked == [{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4.5]}]}]
    assert server.paths == ["/v2/models/sum", "/v2/models/sum/infer"]
    trigger(api, model, {"data": [[5, 6]]})
    assert server.paths[2:] == ["/v2/models/sum/infer"], "what it takes is asked once"
    trigger(api, model, {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [7, 8]}]})
    assert server.asked[-1]["inputs"][0]["data"] == [7, 8]


def test_rows_that_do_not_fit_end_the_execution_with_the_reason(api, models, server):
    model = put_sum(models, server, "misfit")
    execution = trigger(api, model, {"data": [[1, 2, 3]]}, retry={"max_attempts": 0})
    assert execution["status"] == "failed" and execution["error"]["type"] == "InvalidParameters", execution
    assert "[-1, 2]" in execution["error"]["message"] and server.asked == []


def test_a_server_that_takes_something_else_by_now_is_asked_anew(api, models, server):
    model = put_sum(models, server, "changing")
    assert trigger(api, model, {"data": [[1, 2]]})["status"] == "succeeded"
    server.metadata = {**METADATA, "inputs": [{"name": "z", "datatype": "FP64", "shape": [-1, 2]}]}
    execution = trigger(api, model, {"data": [[1, 2]]}, retry={"max_attempts": 0})
    assert execution["status"] == "failed" and "unexpected inference input" in execution["error"]["message"]
    assert trigger(api, model, {"data": [[1, 2]]})["status"] == "succeeded"
    assert server.asked[-1]["inputs"][0]["datatype"] == "FP64"


def test_a_model_is_shown_as_its_server_says_it_is(api, models, server):
    model = put_sum(models, server, "shown", headers={"Authorization": "Bearer ${secret:key}"})
    wait_for(lambda: api.get(f"/api/models/{model}").status_code == 200, "the model")
    shown = api.get(f"/api/models/{model}").json()
    assert shown["server"] == {"ready": True, "reason": None}
    assert shown["signature"] == {side: METADATA[side] for side in ("inputs", "outputs")}
    assert server.headers["Authorization"] == "Bearer a-key"
    assert api.get(f"/v2/models/{model}").json()["inputs"] == METADATA["inputs"]
    assert api.get(f"/v2/models/{model}/ready").json() == {"name": model, "ready": True}
    server.is_ready = False
    shown = api.get(f"/api/models/{model}").json()
    assert shown["server"]["ready"] is False and "503" in shown["server"]["reason"]
    assert "it is loading" in shown["server"]["reason"]
    answer = api.get(f"/v2/models/{model}/ready")
    assert answer.status_code == 503 and answer.json() == {"name": model, "ready": False}


def test_a_model_whose_server_is_not_there_is_shown_with_the_reason(api, models, server):
    model = put(models, "away", backend="openinference", url="http://127.0.0.1:1")
    wait_for(lambda: api.get(f"/api/models/{model}").status_code == 200, "the model")
    shown = api.get(f"/api/models/{model}").json()
    assert shown["signature"] is None and shown["server"]["ready"] is False
    assert "Connection refused" in shown["server"]["reason"]
    answer = api.get(f"/v2/models/{model}")
    assert answer.status_code == 503 and "Connection refused" in answer.text
    execution = trigger(api, model, {"data": [[1, 2]]}, retry={"max_attempts": 0})
    assert execution["status"] == "failed" and execution["error"]["type"] == "ModelUnavailable"
    assert "asked what the model takes" in execution["error"]["message"]


def test_a_server_that_hangs_is_waited_for_no_longer_than_five_seconds(api, models, server):
    model = put_sum(models, server, "hanging", model="slow", max_concurrency=1)
    wait_for(lambda: model in [m["name"] for m in api.get("/api/models").json()], "the model")
    run_id = create(api, model_name=model, schedule="* * * * * *", parameters={"data": [[1, 2]]}, timeout="30s")
    wait_for(lambda: executions(api, run_id), "one that runs, and leaves no room to another")
    began = time.monotonic()
    shown = api.get(f"/api/models/{model}", timeout=30).json()
    assert 4 < time.monotonic() - began < 15
    assert shown["server"]["ready"] is False and "not finished within 5s" in shown["server"]["reason"]
    assert api.delete(f"/api/scheduled/{run_id}").status_code == 200

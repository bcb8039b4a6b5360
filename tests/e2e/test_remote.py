"""Models on other servers: what they are asked, what their answers mean, and that none of them harms anybody else."""

import contextlib
import datetime
import http.server
import json
import os
import pathlib
import re
import socket
import socketserver
import ssl
import subprocess
import threading
import time

import pytest
from conftest import create, executions, wait_for, write_line_model

HANG_S = 60


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address=("127.0.0.1", 0)):
        self.requests = []
        self.released = threading.Event()
        super().__init__(address, Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class UnixServer(Server):
    address_family = socket.AF_UNIX

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0

    def get_request(self):
        request, _ = super().get_request()
        return request, ("unix", 0)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass  # the daemon has had enough of it

    def answer(self, status, body, content_type="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, dict(self.headers), body))
        what = self.path.split("?")[0].strip("/").split("/")[0]
        getattr(self, "do_" + what)(json.loads(body))

    def do_predict(self, asked):
        self.answer(200, {"prediction": {"value": [row[0] * 2 for row in asked["rows"]]}, "model": "far"})

    def do_echo(self, asked):
        self.answer(200, asked)

    def do_v2(self, asked):
        data = asked["inputs"][0]["data"]
        self.answer(200, {"model_name": self.path.split("/")[3], "outputs": [
            {"name": "y", "shape": [len(data)], "datatype": "FP32", "data": [x + 1 for x in data]}]})

    def do_exact(self, _):
        self.answer(200, b'{"y": [123456789012345678901234567890, 0.10, 1e400]}')

    def do_busy(self, _):
        if sum(path == self.path for path, *_ in self.server.requests) == 1:
            self.answer(503, {}, **{"Retry-After": "2"})
        else:
            self.answer(200, {"served": True})

    def do_hang(self, _):
        self.server.released.wait(HANG_S)

    def do_drip(self, _):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        while not self.server.released.wait(0.05):
            self.wfile.write(b" ")

    def do_reset(self, _):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        os.close(self.connection.detach())

    def do_broken(self, _):
        self.answer(500, b"Traceback (most recent call last):\n  \x1b[31mKeyError", "text/plain")

    def do_headers(self, _):
        self.answer(200, list(self.headers.items()))

    def do_slowly(self, _):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.server.released.wait(1)
        self.wfile.write(b"[]")

    def do_repeats(self, _):
        key = self.headers["X-Key"]
        self.answer(401, {"detail": f"not a valid key: {key}"}, **{"X-Key": key})

    def do_repeats_plainly(self, _):
        self.answer(200, f"<p>what is {self.headers['X-Key']}?".encode("latin-1"), "text/html")

    def do_refuses(self, _):
        self.answer(422, {"detail": "rows: field required"})

    def do_garbage(self, _):
        self.answer(200, b"<html>no JSON</html>", "text/html")

    def do_empty(self, _):
        self.answer(200, b"")

    def do_elsewhere(self, _):
        self.answer(302, b"", Location="/predict")

    def do_gigabyte(self, _):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        chunk = b"[" + b"1," * (1 << 19)
        for _ in range(1024):
            self.wfile.write(chunk)


@contextlib.contextmanager
def bare_server(behave):
    """The address of a server that does as it is told with each connection, on a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            try:
                connection.recv(65536)
                behave(connection)
            except OSError:
                pass  # the daemon has had enough of it

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server
        server.released.set()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_line_model(folder, "line", 1, 2, 1)
    return folder


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "token").write_text("a-very-secret-word\n")
    (folder / "two-lines").write_text("one\r\nX-Injected: yes\n")
    (folder / "odd").write_text('a "very/secret" w\\ört\n')
    (folder / "mounted").symlink_to("token")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(scope="module")
def daemon(make_daemon, models, secrets):
    return make_daemon(models, ["--secrets", str(secrets)]).start()


def put(models, name, **settings):
    settings = {"backend": "http", **settings}
    place = pathlib.Path(models) / name
    place.mkdir(exist_ok=True)
    (place / "new.json").write_text(json.dumps(settings))
    (place / "new.json").rename(place / "model.json")
    return name


def ended(api, run_id):
    def last():
        found = [e for e in executions(api, run_id) if e["finished_at"] is not None]
        return found and found[0]

    return wait_for(last, "the end of the execution")


def trigger(api, model, parameters=None, **fields):
    run_id = create(api, model_name=model, schedule="0 0 1 1 *", parameters=parameters or {"rows": [[1]]}, **fields)
    answer = api.post(f"/api/scheduled/{run_id}/trigger")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_run_is_one_request_made_by_its_template(api, models, server):
    model = put(models, "far", url=server.url + "/echo?x=1", headers={"X-Team": "risk"},
                body={"instances": "$parameters", "when": "$scheduled_for", "$run_id": "$run_id",
                      "as is": "$parameters is not replaced here", "id": ["$execution_id"]})
    execution = trigger(api, model, {"rows": [[1], [9007199254740993]], "text": "\"$run_id\" é"})
    assert execution["status"] == "succeeded", execution
    assert execution["result"]["instances"] == {"rows": [[1], [9007199254740993]], "text": "\"$run_id\" é"}
    assert execution["result"]["$run_id"] == execution["run_id"]
    assert execution["result"]["id"] == [execution["execution_id"]]
    assert execution["result"]["as is"] == "$parameters is not replaced here"
    assert execution["result"]["when"] is not None
    path, headers, _ = server.requests[-1]
    assert path == "/echo?x=1"
    assert headers["X-Team"] == "risk" and headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == execution["execution_id"]
    assert headers["traceparent"].startswith("00-" + execution["execution_id"].replace("-", ""))
    assert execution["model_version"] == 1 and len(execution["model_digest"]) == 64


def test_the_result_is_what_the_pointer_says(api, models, server):
    model = put(models, "pointed", url=server.url + "/predict", result="/prediction/value")
    assert trigger(api, model, {"rows": [[1], [2.5]]})["result"] == [2, 5.0]
    model = put(models, "astray", url=server.url + "/predict", result="/prediction/nothing")
    execution = trigger(api, model)
    assert execution["status"] == "failed" and execution["error"]["type"] == "ModelError"
    assert "'/prediction/nothing'" in execution["error"]["message"]


def test_it_fires_by_the_clock_and_connections_are_used_again(api, models, server):
    model = put(models, "often", url=server.url + "/predict", result="/prediction")
    run_id = create(api, model_name=model, schedule="* * * * * *", parameters={"rows": [[3]]})
    wait_for(lambda: sum(e["status"] == "succeeded" for e in executions(api, run_id)) >= 2, "two slots")
    assert api.delete(f"/api/scheduled/{run_id}").status_code == 200
    assert api.post(f"/api/models/{model}/predict", json={"rows": [[4]]}).json() == {"value": [8]}


def test_secrets_are_sent_and_nowhere_shown(api, daemon, models, server):
    model = put(models, "guarded", url=server.url + "/predict",
                headers={"Authorization": "Bearer ${secret:token}"})
    assert trigger(api, model)["status"] == "succeeded"
    assert server.requests[-1][1]["Authorization"] == "Bearer a-very-secret-word"
    for secret, words in (("absent", "the secret 'absent' cannot be read"),
                          ("two-lines", "the secret 'two-lines' is no value for a header field"),
                          ("pipe", "the secret 'pipe' is no regular file"),
                          ("../token", "'../token' is no name of a secret")):
        model = put(models, "unguarded", url=server.url + "/predict", headers={"X-Key": "${secret:%s}" % secret})
        wait_for(lambda: trigger(api, model)["error"]["message"].startswith(words), words)
    shown = api.get("/api/models/guarded").text + api.get("/api/models").text + daemon.new_log()
    assert "a-very-secret-word" not in shown


@pytest.mark.parametrize("path, words", [
    ("repeats", "the model's server answered 401: {\"detail\": \"not a valid key: Key ***\"}"),
    ("repeats_plainly", "what the model's server answered is not JSON: unexpected character, expected a valid root "
                        "value at byte 1: <p>what is Key ***?"),
])
@pytest.mark.parametrize("secret", ["mounted", "odd"])
def test_a_secret_that_the_server_repeats_is_masked(api, daemon, models, server, path, words, secret):
    model = put(models, f"{path}-{secret}".replace("_", "-"), url=f"{server.url}/{path}",
                headers={"X-Key": "Key ${secret:%s}" % secret})
    execution = trigger(api, model, retry={"max_attempts": 0})
    assert execution["status"] == "failed" and execution["error"] == {"type": "ModelError", "message": words}
    wait_for(lambda: f"event=remote_failed model={model} " in daemon.new_log(), "the log")
    assert not re.search(r"secret-word|very..?secret|w\\+|\\u00", daemon.new_log())


def test_a_field_of_model_json_replaces_orrerys(api, models, server):
    model = put(models, "fields", url=server.url + "/headers", headers={
        "content-type": "application/cloudevents+json", "ACCEPT": "text/*", "User-Agent": "risk/1", "Host": "other.example",
        "X-Empty": "", "X-Blank": "  "})
    fields = [(name.lower(), value) for name, value in trigger(api, model)["result"]]
    names = [name for name, _ in fields]
    assert len(set(names)) == len(names), names
    fields = dict(fields)
    assert fields["content-type"] == "application/cloudevents+json" and fields["accept"] == "text/*"
    assert fields["user-agent"] == "risk/1" and fields["host"] == "other.example"
    assert fields["x-empty"] == "" and fields["x-blank"] == ""
    assert "idempotency-key" in names and "traceparent" in names
    assert "expect" not in names


def remote_thread(daemon):
    """Where the kernel tells of the thread that speaks with other servers."""
    for task in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "remote":
            return task
    raise AssertionError("no thread named remote")


def test_a_server_that_does_not_begin_to_answer_is_waited_for_as_long_as_is_said(api, daemon, models, server):
    model = put(models, "mute", url=server.url + "/hang", first_byte_timeout="1500ms")
    run_id = create(api, model_name=model, schedule="0 0 1 1 *", parameters={"rows": []}, timeout="30s",
                    retry={"max_attempts": 0})
    asked = len(server.requests)
    started = api.post(f"/api/scheduled/{run_id}/trigger", headers={"Prefer": "respond-async"})
    assert started.status_code == 202, started.text
    wait_for(lambda: len(server.requests) > asked, "the request")

    def wake_ups():
        status = (remote_thread(daemon) / "status").read_text()
        return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.M).group(1))

    before = wake_ups()
    execution = ended(api, run_id)
    assert execution["status"] == "failed" and execution["error"]["type"] == "ModelUnavailable", execution
    assert execution["error"]["message"] == "the model's server did not begin to answer within 1s500ms"
    assert 1.49 <= seconds_between(execution["started_at"], execution["finished_at"]) < 10
    assert wake_ups() - before < 10


def test_only_the_first_byte_has_a_limit_of_its_own(api, models, server):
    slow = put(models, "slow", url=server.url + "/slowly", first_byte_timeout="500ms")
    execution = trigger(api, slow, timeout="30s")
    assert execution["status"] == "succeeded" and execution["result"] == [], execution
    assert seconds_between(execution["started_at"], execution["finished_at"]) >= 0.9
    mute = put(models, "mute-for-long", url=server.url + "/hang", first_byte_timeout="10s")
    execution = trigger(api, mute, timeout="300ms", retry={"max_attempts": 0})
    assert execution["status"] == "timed_out"
    assert execution["error"]["message"] == "not finished within 300ms: the model's server did not begin to answer"


@pytest.mark.parametrize("path, status, error_type, words", [
    ("hang", "timed_out", "TimedOut", "not finished within 500ms: the model's server did not begin to answer"),
    ("drip", "timed_out", "TimedOut", "not finished within 500ms: the model's server did not end its answer"),
    ("reset", "failed", "ModelUnavailable", "the model's server cannot be asked: "),
    ("broken", "failed", "ModelUnavailable", "the model's server answered 500: Traceback (most recent call last): "
                                             "[31mKeyError"),
    ("refuses", "failed", "ModelError", 'the model\'s server answered 422: {"detail": "rows: field required"}'),
    ("garbage", "failed", "ModelError", "what the model's server answered is not JSON: "),
    ("empty", "failed", "ModelError", "the model's server answered nothing"),
    ("elsewhere", "failed", "ModelError", "the model's server answered 302"),
    ("gigabyte", "failed", "ModelError", "the model's server answered with more than 1000000 bytes"),
])
def test_a_bad_server_ends_its_own_execution(api, models, server, path, status, error_type, words):
    model = put(models, "bad-" + path, url=f"{server.url}/{path}", answer_limit=1000000)
    execution = trigger(api, model, timeout="500ms" if status == "timed_out" else "30s", retry={"max_attempts": 0})
    assert execution["status"] == status, execution
    assert execution["error"]["type"] == error_type
    assert execution["error"]["message"].startswith(words), execution["error"]["message"]
    assert len(execution["error"]["message"]) < 440


def speak_something_else(connection):
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def break_off(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1, 2")


def send_headers_without_end(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: " + b"x" * 60000 + b"\r\n")


def send_status_without_end(connection):
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@pytest.mark.parametrize("behave, words", [
    (speak_something_else, "HTTP/0.9"),
    (break_off, "transfer closed with 95 bytes remaining to read"),
])
def test_what_is_no_http_ends_its_own_execution(api, models, behave, words):
    with bare_server(behave) as url:
        execution = trigger(api, put(models, behave.__name__.replace("_", "-"), url=url), timeout="30s")
    assert execution["status"] == "failed" and execution["error"]["type"] == "ModelUnavailable", execution
    assert execution["error"]["message"].startswith("the model's server cannot be asked: ")
    assert words in execution["error"]["message"]


@pytest.mark.parametrize("behave", [send_headers_without_end, send_status_without_end])
def test_an_answer_that_never_begins_takes_no_memory(api, daemon, models, behave):
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status")

    def memory_mb():
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text()).group(1)) // 1024

    before_mb = memory_mb()
    with bare_server(behave) as url:
        execution = trigger(api, put(models, behave.__name__.replace("_", "-"), url=url), timeout="1s")
    assert execution["status"] in ("failed", "timed_out"), execution
    assert execution["error"]["type"] in ("ModelUnavailable", "TimedOut")
    assert memory_mb() < before_mb + 100


def test_who_does_not_take_connections_is_waited_for_as_long_as_is_said(api, models):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with contextlib.ExitStack() as waiting:
            for _ in range(4):  # the kernel answers nobody else once its queue is full
                other = waiting.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(full.getsockname())
            url = f"http://127.0.0.1:{full.getsockname()[1]}/"
            execution = trigger(api, put(models, "full", url=url, connect_timeout="300ms", first_byte_timeout="100ms"),
                                timeout="30s")
            assert execution["status"] == "failed" and execution["error"]["type"] == "ModelUnavailable"
            assert execution["error"]["message"] == "no connection to the model's server within 300ms"
            execution = trigger(api, put(models, "fuller", url=url), timeout="300ms")
            assert execution["status"] == "timed_out"
            assert execution["error"]["message"] == \
                "not finished within 300ms: the model's server could not be connected to"


SLEEPING_LOOKUP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    if (node != NULL && strcmp(node, "slow.example") == 0) {
        sleep(20);
        return EAI_AGAIN;
    }
    return real(node, service, hints, out);
}
"""


def test_a_name_server_that_hangs_makes_nobody_else_wait(make_daemon, tmp_path, server):
    source, library = tmp_path / "lookup.c", tmp_path / "lookup.so"
    source.write_text(SLEEPING_LOOKUP)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    models = tmp_path / "models"
    models.mkdir()
    put(models, "lost", url="http://slow.example/", connect_timeout="30s")
    put(models, "far", url=server.url + "/predict", result="/prediction/value")
    daemon = make_daemon(models, environment={"LD_PRELOAD": str(library)}).start()
    with daemon.client(daemon.create_key("alice")) as api:
        started = time.monotonic()
        lost = trigger(api, "lost", timeout="300ms")
        assert lost["status"] == "timed_out"
        assert lost["error"]["message"] == "not finished within 300ms: the model's server could not be connected to"
        assert trigger(api, "far")["result"] == [2]
        assert time.monotonic() - started < 10


def test_it_waits_as_long_as_the_server_asks(api, models, server):
    model = put(models, "busy", url=server.url + "/busy")
    run_id = create(api, model_name=model, schedule="* * * * * *", parameters={"rows": []},
                    retry={"max_attempts": 1, "backoff": "1ms", "max_backoff": "1ms"})

    def attempts():
        found = {e["attempt"]: e for e in executions(api, run_id) if e["error"] or e["attempt"] > 1}
        return len(found) == 2 and found[2]["finished_at"] is not None and found

    found = wait_for(attempts, "the second attempt")
    assert api.delete(f"/api/scheduled/{run_id}").status_code == 200
    assert found[1]["error"]["message"] == "the model's server answered 503: {}"
    assert found[2]["status"] == "succeeded"
    assert seconds_between(found[1]["finished_at"], found[2]["started_at"]) >= 2


def test_numbers_keep_all_their_digits(api, models, server):
    for model in (put(models, "exact", url=server.url + "/exact", result="/y"),
                  put(models, "exactly", url=server.url + "/exact")):
        run_id = create(api, model_name=model, schedule="0 0 1 1 *", parameters={"rows": []})
        answer = api.post(f"/api/scheduled/{run_id}/trigger")
        assert answer.json()["status"] == "succeeded", answer.text
        assert "[123456789012345678901234567890,0.10,1e400]" in answer.text.replace(" ", "")


def test_a_large_body_waits_for_no_leave(api, models, server):
    model = put(models, "large", url=server.url + "/echo", body={"all": "$parameters"}, result="/all/0")
    parameters = ["x" * 3000000]
    run_id = create(api, model_name=model, schedule="0 0 1 1 *", parameters=parameters)
    assert api.post(f"/api/scheduled/{run_id}/trigger").json()["result"] == parameters[0]
    assert "Expect" not in server.requests[-1][1]


def test_a_server_that_is_not_there_is_retried_and_then_found(api, models, server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = put(models, "late", url=f"http://127.0.0.1:{port}/predict")
    run_id = create(api, model_name=model, schedule="* * * * * *", parameters={"rows": [[1]]}, overlap="queue_all",
                    retry={"max_attempts": 10, "backoff": "100ms", "max_backoff": "500ms"})
    first = ended(api, run_id)
    assert first["status"] == "failed" and first["error"]["type"] == "ModelUnavailable"
    assert "connect" in first["error"]["message"]
    with Server(("127.0.0.1", port)):
        wait_for(lambda: any(e["status"] == "succeeded" and e["trigger"] == "retry" for e in executions(api, run_id)),
                 "a later attempt")
    assert api.delete(f"/api/scheduled/{run_id}").status_code == 200


def test_what_runs_there_can_be_cancelled(api, models, server):
    model = put(models, "cancelled", url=server.url + "/hang")
    run_id = create(api, model_name=model, schedule="0 0 1 1 *", parameters={"rows": []}, timeout="1h")
    started = api.post(f"/api/scheduled/{run_id}/trigger", headers={"Prefer": "respond-async"}).json()
    wait_for(lambda: any(path == "/hang" for path, *_ in server.requests), "the request")
    answer = api.post(f"/api/executions/{started['execution_id']}/cancel")
    assert answer.status_code == 200 and answer.json()["status"] == "cancelled", answer.text


def test_a_server_on_a_unix_socket(api, models, tmp_path):
    path = str(tmp_path / "model.sock")
    with UnixServer(path):
        model = put(models, "near", url="http://localhost/predict", unix_socket=path, result="/prediction/value")
        assert trigger(api, model)["result"] == [2]


def test_certificates_are_verified(api, models, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    with Server() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http:", "https:") + "/predict"
        execution = trigger(api, put(models, "strange", url=url), retry={"max_attempts": 0})
        assert execution["status"] == "failed" and execution["error"]["type"] == "ModelUnavailable"
        assert "certificate" in execution["error"]["message"], execution["error"]
        assert trigger(api, put(models, "trusted", url=url, ca_file=str(certificate)))["status"] == "succeeded"


def test_an_open_inference_server(api, models, server):
    model = put(models, "triton", backend="openinference", url=server.url + "/", model="other name")
    asked = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.5, 2]}]}
    execution = trigger(api, model, asked)
    assert execution["result"]["outputs"][0]["data"] == [2.5, 3], execution
    assert server.requests[-1][0] == "/v2/models/other%20name/infer"


def test_a_hanging_server_makes_nobody_else_late(api, models, server):
    model = put(models, "stuck", url=server.url + "/hang", max_concurrency=4)
    stuck = [create(api, model_name=model, schedule="* * * * * *", parameters={"rows": []}, timeout="2s",
                    overlap="allow") for _ in range(4)]
    good = create(api, model_name="line", schedule="* * * * * *", parameters={"data": [[1.0]]})
    wait_for(lambda: sum(e["status"] == "succeeded" for e in executions(api, good)) >= 4, "four slots")
    for run_id in stuck:
        assert api.delete(f"/api/scheduled/{run_id}").status_code == 200
    late = sorted(seconds_late(e) for e in executions(api, good) if e["status"] == "succeeded")
    assert late[len(late) // 2] < 0.1, late


def seconds_late(execution):
    return seconds_between(execution["scheduled_for"], execution["started_at"])


def seconds_between(*times):
    first, second = [datetime.datetime.fromisoformat(time.replace("Z", "+00:00")) for time in times]
    return (second - first).total_seconds()


@pytest.mark.parametrize("settings, words", [
    ({}, "url is missing"),
    ({"url": "ftp://host/x"}, "url 'ftp://host/x' is no address"),
    ({"url": "http:///x"}, "is no address"),
    ({"url": "http://me:pw@host/x"}, "url has a name or password in it"),
    ({"url": "http://host/", "method": "GET"}, "method 'GET' is not known; there is POST, PUT, PATCH"),
    ({"url": "http://host/", "headers": {"X Y": "z"}}, "headers: 'X Y' is no header field"),
    ({"url": "http://host/", "headers": {"X": "a\nb"}}, "headers: 'X' is no header field"),
    ({"url": "http://host/", "headers": {"connection": "close"}}, "headers: 'connection' cannot be set: connections"),
    ({"url": "http://host/", "headers": {"Idempotency-Key": "1"}}, "cannot be set: it is each execution's id"),
    ({"url": "http://host/", "headers": {"Accept": "a", "accept": "b"}}, "headers: 'accept' is given twice"),
    ({"url": "http://host/", "first_byte_timeout": 5}, "first_byte_timeout is a number, expected a duration"),
    ({"url": "http://host/", "headers": ["X"]}, "headers is a list, expected an object"),
    ({"url": "http://host/", "result": "value"}, "result 'value' is no JSON pointer"),
    ({"url": "http://host/", "retryable_statuses": [200]}, "retryable_statuses is not a whole number from 300 to 599"),
    ({"url": "http://host/", "unix_socket": "model.sock"}, "unix_socket is no absolute path"),
    ({"url": "http://host/", "model": "x"}, "unknown key 'model'; known for backend http are "),
    ({"backend": "openinference", "url": "http://host", "body": {}}, "unknown key 'body'"),
])
def test_bad_settings_are_told(api, models, settings, words):
    model = put(models, "wrong", **settings)
    wait_for(lambda: words in str(api.get(f"/api/models/{model}").json().get("reason")), words, limit_s=20)

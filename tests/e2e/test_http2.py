"""Models on servers that speak HTTP/2: many executions on one connection, of which none is in another's way."""

import contextlib
import json
import socket
import ssl
import subprocess
import threading

import h2.config
import h2.connection
import h2.events
import pytest
from conftest import create, executions, wait_for
from test_remote import put, trigger


class Server:
    """Answers at once, or, under /pair, when two requests are open on the same connection; never under /hang."""

    def __init__(self, certificate, key):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.protocols = []  # of each connection
        self.requests = []  # (connection, stream, fields, body)
        self.ended = []  # connections
        self.resets = []  # (connection, stream): the client wants no answer
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, plain):
        with contextlib.suppress(OSError), self.context.wrap_socket(plain, server_side=True) as connection:
            number = len(self.protocols)
            self.protocols.append(connection.selected_alpn_protocol())
            try:
                Connection(self, connection, number).run()
            finally:
                self.ended.append(number)

    def of(self, path):
        return [(number, stream) for number, stream, fields, _ in self.requests if fields[":path"] == path]

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Connection:
    def __init__(self, server, connection, number):
        self.server, self.connection, self.number = server, connection, number
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.streams = {}  # (fields, body) of those that are not answered
        self.pair = []

    def run(self):
        self.http.initiate_connection()
        self.connection.sendall(self.http.data_to_send())
        while data := self.connection.recv(65536):
            for event in self.http.receive_data(data):
                self.handle(event)
            self.connection.sendall(self.http.data_to_send())

    def handle(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.streams[event.stream_id] = (event.headers, bytearray())
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id][1].extend(event.data)
            self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.server.resets.append((self.number, event.stream_id))
        elif isinstance(event, h2.events.StreamEnded):
            fields, body = self.streams[event.stream_id]
            assert len(dict(fields)) == len(fields)
            self.server.requests.append((self.number, event.stream_id, dict(fields), bytes(body)))
            getattr(self, "do_" + dict(fields)[":path"].strip("/"))(event.stream_id)

    def answer(self, stream, status=200):
        self.http.send_headers(stream, [(":status", str(status)), ("content-type", "application/json")])
        self.http.send_data(stream, self.streams.pop(stream)[1], end_stream=True)

    def do_echo(self, stream):
        self.answer(stream)

    def do_pair(self, stream):
        self.pair.append(stream)
        if len(self.pair) == 2:
            for each in self.pair:
                self.answer(each)
            self.pair = []

    def do_hang(self, _):
        pass

    def do_reset(self, stream):
        self.http.reset_stream(stream)

    def do_endless(self, stream):
        self.http.send_headers(stream, [(":status", "200")])
        self.http.send_data(stream, b"[" + b"1," * 8000)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def server(certificate):
    server = Server(*certificate)
    yield server
    server.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def daemon(make_daemon, models):
    return make_daemon(models).start()


@pytest.fixture
def model_at(models, server, certificate):
    """Makes a model of the server's that is at this path; each server has models of its own."""
    def make(path, **settings):
        name = f"{path}-{server.url.split(':')[-1]}"
        return put(models, name, url=f"{server.url}/{path}", ca_file=str(certificate[0]), **settings)

    return make


def begin(api, model, parameters, **fields):
    run_id = create(api, model_name=model, schedule="0 0 1 1 *", parameters=parameters, retry={"max_attempts": 0},
                    **fields)
    answer = api.post(f"/api/scheduled/{run_id}/trigger", headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    return run_id


def end_of(api, run_id):
    def last():
        found = executions(api, run_id)
        return found and found[0]["finished_at"] is not None and found[0]

    return wait_for(last, "the end of the execution")


def test_two_executions_share_one_connection(api, server, model_at):
    execution = trigger(api, model_at("echo"), {"warm": "up"})
    assert execution["status"] == "succeeded" and execution["result"] == {"warm": "up"}, execution
    assert server.protocols == ["h2"]
    pair = model_at("pair")
    runs = [begin(api, pair, {"n": n}) for n in (1, 2)]
    for n, run_id in enumerate(runs, 1):
        execution = end_of(api, run_id)
        assert execution["status"] == "succeeded" and execution["result"] == {"n": n}, execution
    assert server.protocols == ["h2"]
    assert {number for number, _ in server.of("/pair")} == {0} and len(set(server.of("/pair"))) == 2
    _, _, fields, body = server.requests[0]
    assert fields[":method"] == "POST" and json.loads(body) == {"warm": "up"}
    assert fields["content-type"] == "application/json" and "idempotency-key" in fields
    assert "connection" not in fields and "transfer-encoding" not in fields


@pytest.mark.parametrize("path, settings, fields, status, words", [
    ("hang", {}, {"timeout": "500ms"}, "timed_out", "not finished within 500ms: "),
    ("hang", {"first_byte_timeout": "500ms"}, {"timeout": "30s"}, "failed",
     "the model's server did not begin to answer within 500ms"),
    ("endless", {"answer_limit": 1000}, {"timeout": "30s"}, "failed",
     "the model's server answered with more than 1000 bytes"),
    ("reset", {}, {"timeout": "30s"}, "failed", "the model's server cannot be asked: "),
])
def test_an_execution_that_fails_leaves_the_connection_to_the_others(api, server, model_at, path, settings, fields,
                                                                     status, words):
    assert trigger(api, model_at("echo"))["status"] == "succeeded"
    pair = model_at("pair")
    first = begin(api, pair, {"n": 1})
    wait_for(lambda: server.of("/pair"), "the first request")
    execution = end_of(api, begin(api, model_at(path, **settings), {}, **fields))
    assert execution["status"] == status and execution["error"]["message"].startswith(words), execution
    second = begin(api, pair, {"n": 2})
    for run_id, n in ((first, 1), (second, 2)):
        execution = end_of(api, run_id)
        assert execution["status"] == "succeeded" and execution["result"] == {"n": n}, execution
    assert server.protocols == ["h2"] and {number for number, *_ in server.requests} == {0}
    # libcurl sends it with what it sends next.
    assert path == "reset" or server.resets == server.of("/" + path)


@pytest.mark.parametrize("path, settings, fields", [
    ("hang", {}, {"timeout": "500ms"}),
    ("hang", {"first_byte_timeout": "500ms"}, {"timeout": "30s"}),
    ("endless", {"answer_limit": 1000}, {"timeout": "30s"}),
])
def test_a_server_that_is_given_up_gets_to_know(api, server, model_at, path, settings, fields):
    end_of(api, begin(api, model_at(path, **settings), {}, **fields))
    wait_for(lambda: server.ended == [0], "the end of its connection")
    assert trigger(api, model_at("echo"))["status"] == "succeeded"
    assert server.protocols == ["h2", "h2"]


def test_a_cancelled_execution_is_given_up_at_the_server(api, server, model_at):
    run_id = begin(api, model_at("hang"), {}, timeout="30s")
    wait_for(lambda: server.of("/hang"), "the request")
    execution_id = executions(api, run_id)[0]["execution_id"]
    assert api.post(f"/api/executions/{execution_id}/cancel").json()["status"] == "cancelled"
    wait_for(lambda: server.ended == [0], "the end of its connection")

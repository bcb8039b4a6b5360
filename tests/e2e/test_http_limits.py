"""Too large, slow, malformed, garbage, pipelined: the server answers or hangs up, and lives."""

import json
import os
import random
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import create, error_of, run_body, wait_for

BODY_LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def daemon(make_daemon):
    return make_daemon(options=["--body-limit", str(BODY_LIMIT), "--idle-timeout", "2s",
                                "--connections", "200"]).start()


@pytest.fixture(autouse=True)
def lives_on(daemon, key):
    yield
    assert daemon.process.poll() is None
    with daemon.client(key) as client:
        assert client.get("/api/scheduled?limit=1").status_code == 200


def dial(daemon):
    host, port = daemon.url[len("http://"):].rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def read_to_end(connection):
    answer = b""
    try:
        while True:
            piece = connection.recv(65536)
            if not piece:
                return answer
            answer += piece
    except ConnectionResetError:
        return answer


def exchange(daemon, request, shut=True):
    with dial(daemon) as connection:
        try:
            connection.sendall(request)
            if shut:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass # it hung up already
        return read_to_end(connection)


def head(method, path, key, *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *lines,
                        "", ""]).encode()


def test_a_body_beyond_the_limit_is_too_large(api):
    body = run_body(description="x" * BODY_LIMIT)
    error_of(api.post("/api/scheduled", json=body), 413, "PayloadTooLarge")
    error_of(api.put("/api/scheduled/" + create(api), json=body), 413)


def test_a_chunked_body_beyond_the_limit_is_too_large(api):
    def chunks():
        for _ in range(20):
            yield b" " * (BODY_LIMIT // 10)

    error_of(api.post("/api/scheduled", content=chunks(), headers={"Content-Type": "application/json"}), 413)


def test_a_chunked_body_within_the_limit_is_read(api):
    def chunks():
        for character in json.dumps(run_body()):
            yield character.encode()

    answer = api.post("/api/scheduled", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text


def test_an_announced_length_is_believed_at_once(daemon, key):
    answer = exchange(daemon, head("POST", "/api/scheduled", key, "Content-Length: 999999999999"), shut=False)
    assert answer.startswith(b"HTTP/1.1 413")
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["error"] == "PayloadTooLarge" and body["status_code"] == 413


def test_expect_100_continue(daemon, key):
    body = json.dumps(run_body()).encode()
    with dial(daemon) as connection:
        connection.sendall(head("POST", "/api/scheduled", key, "Content-Type: application/json",
                                f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert read_to_end(connection).startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize("path", ["/%", "/%4", "/%zz", "/api/scheduled/%00", "/api%2", "/api/scheduled?limit=%",
                                  "/api/scheduled?limit=%00", "/api/scheduled?%ff%=1"])
def test_a_bad_encoding_is_malformed(daemon, key, path):
    answer = exchange(daemon, head("GET", path, key, "Connection: close"), shut=False)
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "MalformedRequest"


def test_a_header_that_is_too_large_is_refused(daemon, key):
    for request in (head("GET", "/api/scheduled", key, "X-Large: " + "x" * 200000),
                    head("GET", "/" + "x" * 200000, key),
                    head("GET", "/api/scheduled", key, *[f"X-{i}: x" for i in range(20000)])):
        answer = exchange(daemon, request, shut=False)
        assert answer == b"" or answer.split()[1] in (b"431", b"414", b"413", b"400"), answer[:100]


GARBAGE = [b"", b"\r\n\r\n", b"\x00" * 1000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n",
           b"GET /healthz\r\n\r\n", b"GET /healthz HTTP/9.9\r\n\r\n", b"GET /healthz HTTP/1.1\r\n",
           b"GET  /healthz  HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n",
           b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
           b"POST /api/scheduled HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
           b"POST /api/scheduled HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
           b"POST /api/scheduled HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
           b"POST /api/scheduled HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
           b"POST /api/scheduled HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
           b"POST /api/scheduled HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
           b"POST /api/scheduled HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc",
           b"GET /healthz HTTP/1.1\r\nHost: x\r\n continued\r\n\r\n", b"\n" * 10000, b"A" * 100000]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:40]))
def test_garbage_harms_nobody(daemon, garbage):
    answer = exchange(daemon, garbage)
    assert b"HTTP/1.1 500" not in answer


def test_random_bytes_harm_nobody(daemon):
    generator = random.Random(20271123)
    valid = b"POST /api/scheduled?x=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
    requests = [generator.randbytes(generator.randint(1, 5000)) for _ in range(50)]
    for _ in range(300):
        request = bytearray(valid)
        for _ in range(generator.randint(1, 8)):
            request[generator.randrange(len(request))] = generator.randrange(256)
        requests.append(bytes(request))
    with ThreadPoolExecutor(50) as pool:
        for answer in pool.map(lambda request: exchange(daemon, request), requests):
            assert b"HTTP/1.1 500" not in answer


def test_pipelined_requests_are_answered_in_order(daemon, key):
    body = json.dumps(run_body()).encode()
    post = head("POST", "/api/scheduled", key, "Content-Type: application/json",
                f"Content-Length: {len(body)}") + body
    get = head("GET", "/api/models", key)
    bad = head("GET", "/nowhere", key)
    last = head("GET", "/healthz", key, "Connection: close")
    answer = exchange(daemon, (post + get + bad) * 10 + last, shut=False)
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
    assert statuses == [b"201", b"200", b"404"] * 10 + [b"200"]


def test_many_requests_share_a_connection(daemon, key):
    with dial(daemon) as connection:
        for _ in range(300):
            connection.sendall(head("GET", "/healthz", key))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_slow_client_is_cut_off_and_holds_nobody_up(daemon, key):
    """Half a header, half a body, and nothing at all: each is closed after the idle timeout."""
    halves = [b"", b"GET /healthz HT", head("POST", "/api/scheduled", key, "Content-Type: application/json",
                                            "Content-Length: 1000") + b'{"model_name'] * 20
    slow = [dial(daemon) for _ in halves]
    for connection, half in zip(slow, halves):
        connection.sendall(half)
    with daemon.client(key) as api:
        assert create(api)
    for connection in slow:
        assert b"HTTP/1.1 2" not in read_to_end(connection)
        connection.close()


def test_clients_that_hang_up_early_harm_nobody(daemon, key, api):
    run_id = create(api)
    for request in (head("POST", f"/api/scheduled/{run_id}/trigger", key),
                    head("GET", "/api/scheduled?limit=1000", key),
                    head("POST", "/api/scheduled", key, "Content-Length: 100") + b"{"):
        for _ in range(20):
            connection = dial(daemon)
            connection.sendall(request)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.close()
    # What was triggered is finished all the same.
    wait_for(lambda: all(execution["status"] == "succeeded" for execution in
                         api.get(f"/api/scheduled/{run_id}/executions").json()), "the executions")


def test_more_connections_than_the_limit_harm_nobody(daemon, key):
    connections = []
    try:
        for _ in range(400):
            connections.append(dial(daemon))
    except OSError:
        pass
    for connection in connections:
        connection.close()
    # Closing them is noticed by the server in its own time.
    wait_for(lambda: b"200" in exchange(daemon, head("GET", "/healthz", key), shut=False)[:20], "a free place")


def test_an_idle_daemon_does_not_wake_up(daemon):
    """No thread of the daemon runs while nobody asks anything and nothing is due."""
    def switches():
        total = 0
        tasks = f"/proc/{daemon.process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/status") as status:
                total += sum(int(line.split()[1]) for line in status if "voluntary_ctxt_switches" in line
                             and not line.startswith("non"))
        return total

    # Connections of earlier tests time out first; the window is measured, not slept for an event.
    def is_quiet():
        before = switches()
        time.sleep(1)
        return switches() - before <= 1

    wait_for(is_quiet, "a second without wake-ups", 30)

"""A FastAPI application, served by uvicorn, whose users' scheduled runs are orrery's (integrations/fastapi)."""

import asyncio
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import jwt
import pytest
from conftest import BINARY, EXAMPLE_MODELS, LIMIT_S, ROOT, error_of, executions, run_body, wait_for

PACKAGE = ROOT / "integrations" / "fastapi"
sys.path.insert(0, str(PACKAGE))

from fastapi import FastAPI  # noqa: E402
from orrery_fastapi import read_secret, scheduled_router  # noqa: E402
from orrery_fastapi.connection import Connection  # noqa: E402

SECRET = "0123456789abcdef0123456789abcdef"
TOKENS = {"alice": "alice-says-hello", "bob": "bob-says-hello"}


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


class Application:
    """uvicorn with the example's application."""

    def __init__(self, folder, orrery, secret_file):
        self.log = folder / "application.log"
        environment = {**os.environ, "ORRERY": orrery, "ORRERY_TOKEN_SECRET_FILE": str(secret_file),
                       "PYTHONPATH": str(PACKAGE), "PYTHONUNBUFFERED": "1"}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "examples" / "fastapi"), "app:app",
                 "--host", "127.0.0.1", "--port", "0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment)
        self.url = wait_for(self._address, "uvicorn")

    def _address(self):
        log = self.log.read_text()
        assert self.process.poll() is None, log
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", log)
        return found and found.group(1)

    def client(self, user):
        return httpx.Client(base_url=self.url, timeout=LIMIT_S,
                            headers={"Authorization": "Bearer " + TOKENS[user]} if user else {})

    def end(self, may_have_traceback=False):
        self.process.terminate()
        self.process.wait(LIMIT_S)
        log = self.log.read_text()
        assert may_have_traceback or "Traceback" not in log, log[-8000:]


@pytest.fixture(scope="module", params=["tcp", "unix"])
def orrery(request, make_daemon, secret_file, tmp_path_factory):
    place = tmp_path_factory.mktemp("socket") / "orrery.sock"
    models = tmp_path_factory.mktemp("models") / "models"
    shutil.copytree(EXAMPLE_MODELS, models)
    daemon = make_daemon(models, listen="127.0.0.1:0" if request.param == "tcp" else f"unix:{place}",
                         options=["--token-secret-file", str(secret_file), "--rate-limit", "100000"])
    return daemon.start()


def address_of(orrery):
    return f"unix:{orrery.socket}" if orrery.socket else orrery.url


@pytest.fixture(scope="module")
def application(orrery, secret_file, tmp_path_factory):
    application = Application(tmp_path_factory.mktemp("application"), address_of(orrery), secret_file)
    # The example's model, at the port that this application got.
    settings = (ROOT / "examples" / "fastapi" / "models" / "churn" / "model.json").read_text()
    staged = orrery.models.parent / "churn"
    staged.mkdir()
    (staged / "model.json").write_text(settings.replace("http://127.0.0.1:8000", application.url))
    staged.rename(orrery.models / "churn")
    with orrery.client(orrery.create_key("alice")) as direct:
        wait_for(lambda: direct.get("/api/models/churn").status_code == 200, "the model")
    yield application
    application.end()


@pytest.fixture(scope="module")
def alice(application):
    with application.client("alice") as client:
        yield client


@pytest.fixture(scope="module")
def bob(application):
    with application.client("bob") as client:
        yield client


def make_run(client, **fields):
    answer = client.post("/api/scheduled", json=run_body(**fields))
    assert answer.status_code == 201, answer.text
    return answer.json()["run_id"]


# --- the whole way -----------------------------------------------------------------------------------


def test_a_run_made_through_the_application_fires_and_its_history_is_read_there(application, alice, bob):
    parameters = {"data": [[1, 3], [5, 0]]}
    run_id = make_run(alice, model_name="churn", schedule="@every 1s", parameters=parameters)
    done = wait_for(lambda: executions(alice, run_id, status="succeeded"), "an execution")
    # What the application's own endpoint answers, and it was orrery that asked it.
    expected = httpx.post(application.url + "/predict/churn", json=parameters).json()["prediction"]
    assert done[0]["trigger"] == "schedule" and done[0]["result"] == expected and expected[0] > 0.9 > expected[1]
    assert application.log.read_text().count("POST /predict/churn") >= 2
    execution_id = done[0]["execution_id"]
    one = alice.get(f"/api/scheduled/executions/{execution_id}")
    assert one.status_code == 200 and one.json() == done[0]
    # Another of the application's users sees nothing of it.
    assert bob.get("/api/scheduled").json() == []
    error_of(bob.get(f"/api/scheduled/executions/{execution_id}"), 404, "NotFound")
    for method, rest in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/trigger"), ("GET", "/executions"),
                         ("POST", "/pause"), ("GET", "/statistics")):
        error_of(bob.request(method, f"/api/scheduled/{run_id}{rest}", json={"note": None} if method == "PUT"
                             else None), 404, "NotFound")
    assert alice.delete(f"/api/scheduled/{run_id}").status_code == 200
    error_of(alice.get(f"/api/scheduled/{run_id}"), 404)


def test_what_the_applications_model_refuses_is_read_through_the_application(alice):
    run_id = make_run(alice, model_name="churn", schedule="@yearly", parameters={"data": [[1]]},
                      retry={"max_attempts": 0})
    failed = alice.post(f"/api/scheduled/{run_id}/trigger").json()
    assert failed["status"] == "failed" and failed["error"]["type"] == "ModelError"
    assert "answered 422" in failed["error"]["message"] and "years, complaints" in failed["error"]["message"]


def test_a_large_result_of_the_applications_model_is_read_through_the_application(alice, bob):
    run_id = make_run(alice, model_name="churn", schedule="@yearly", parameters={"data": [[1, 3]] * 100000})
    begun = alice.post(f"/api/scheduled/{run_id}/trigger", headers={"Prefer": "respond-async"})
    execution = begun.headers["Location"]
    wait_for(lambda: executions(alice, run_id, status="succeeded"), "the execution")
    listed, = executions(alice, run_id)
    assert listed["result"] is None and listed["result_bytes"] > 1 << 20
    whole = alice.get(execution)
    assert len(whole.content) > listed["result_bytes"] and len(whole.json()["result"]) == 100000
    OpenApi(alice.get("/openapi.json").json()).check(whole)
    error_of(bob.get(execution), 404, "NotFound")


def test_who_is_nobody_to_the_application_is_nobody_here(application):
    with application.client(None) as client:
        assert client.get("/api/scheduled").status_code in (401, 403)
        client.headers["Authorization"] = "Bearer " + Connection("http://x", SECRET, None).token("alice", True)
        assert client.get("/api/scheduled").status_code == 401
        # A key for orrery itself is no way in, either.
        assert client.get("/api/scheduled", headers={"X-API-Key": "ork_x"}).status_code == 401


# --- every call, as orrery answers it -----------------------------------------------------------------


class OpenApi:
    """The application's OpenAPI page, against which answers are held."""

    def __init__(self, page):
        self.schemas = page["components"]["schemas"]
        self.calls = {(method.upper(), path): call for path, methods in page["paths"].items()
                      if path.startswith("/api/scheduled") for method, call in methods.items()}
        self.seen = set()

    def check(self, answer):
        method, path = answer.request.method, answer.request.url.path.rstrip("/")
        # The page lists a path with a word before one in which any text stands there, as the router has them.
        place = next(place for place in self.calls if place[0] == method and re.fullmatch(
            re.sub(r"{\w+}", "[^/]+", place[1]), path))
        assert str(answer.status_code) in self.calls[place]["responses"], f"{place}: {answer.status_code}"
        self.seen.add(place)
        content = self.calls[place]["responses"][str(answer.status_code)]["content"]
        self._compare(answer.json(), content["application/json"]["schema"], place)

    def _compare(self, value, schema, where):
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rsplit("/", 1)[1]]
        for part in schema.get("allOf", []):
            self._compare(value, part, where)
        if "items" in schema and value is not None:
            for item in value:
                self._compare(item, schema["items"], where)
        if "properties" in schema and value is not None:
            assert set(schema.get("required", [])) <= set(value) <= set(schema["properties"]), where
            for name, part in schema["properties"].items():
                if name in value:
                    self._compare(value[name], part, (*where, name))


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_call_answers_as_the_openapi_page_says(alice, slash):
    page = OpenApi(alice.get("/openapi.json").json())
    run_id = make_run(alice)
    run = f"/api/scheduled/{run_id}"

    def call(method, path, status, **rest):
        answer = alice.request(method, path + slash, **rest)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.headers["X-Correlation-ID"] and answer.headers["RateLimit-Policy"]
        if method != "HEAD":
            page.check(answer)
        return answer

    created = call("POST", "/api/scheduled", 201, json=run_body(name="second"))
    assert created.json()["schedule_details"]["name"] == "second" and created.headers["ETag"] == '"1"'
    listed = call("GET", "/api/scheduled", 200, params={"limit": 1})
    assert len(listed.json()) == 1 and int(listed.headers["X-Total-Count"]) >= 2
    followed = alice.get(re.search(r'<([^>]+)>; rel="next"', listed.headers["Link"])[1])
    assert followed.status_code == 200 and followed.json() != listed.json()
    assert call("GET", run, 200).headers["ETag"] == '"1"'
    head = call("HEAD", run, 200)
    assert head.content == b"" and head.headers["ETag"] == '"1"'
    call("PUT", run, 200, json={"name": "third"}, headers={"If-Match": '"1"'})
    error_of(call("PUT", run, 412, json={"name": "fourth"}, headers={"If-Match": '"1"'}), 412, "PreconditionFailed")
    assert call("GET", run, 200).json()["name"] == "third"
    assert call("POST", run + "/pause", 200, json={"note": "held"}).json()["schedule_details"]["note"] == "held"
    assert call("POST", run + "/resume", 200).json()["schedule_details"]["paused_at"] is None
    error_of(call("POST", run + "/resume", 409), 409)
    done = call("POST", run + "/trigger", 200)
    assert done.json()["status"] == "succeeded"
    begun = call("POST", run + "/trigger", 202, headers={"Prefer": "respond-async"})
    assert begun.headers["Preference-Applied"] == "respond-async"
    assert begun.headers["Location"] == "/api/scheduled/executions/" + begun.json()["execution_id"]
    wait_for(lambda: alice.get(begun.headers["Location"]).json()["status"] == "succeeded", "the execution")
    assert call("GET", begun.headers["Location"], 200).json()["execution_id"] == begun.json()["execution_id"]
    error_of(call("POST", begun.headers["Location"] + "/cancel", 409), 409)
    history = call("GET", run + "/executions", 200, params={"limit": 1, "status": "succeeded"})
    older = alice.get(re.search(r'<([^>]+)>; rel="next"', history.headers["Link"])[1])
    assert [one["execution_id"] for one in history.json() + older.json()] == [
        begun.json()["execution_id"], done.json()["execution_id"]]
    assert call("GET", run + "/statistics", 200).json()["counts"]["succeeded"] == 2
    assert call("GET", run + "/explain", 200, params={"at": "2026-01-01T03:00:00Z"}).json()["is_slot"] is True
    filled = call("POST", run + "/backfills", 201, json={"from": "2025-01-01T00:00:00Z", "to": "2025-02-01T00:00:00Z"})
    place = filled.headers["Location"]
    assert place == "/api/scheduled/backfills/" + filled.json()["backfill_id"]
    wait_for(lambda: call("GET", place, 200).json()["status"] == "completed", "the backfill")
    assert [one["backfill_id"] for one in call("GET", run + "/backfills", 200).json()] == [
        filled.json()["backfill_id"]]
    error_of(call("POST", place + "/cancel", 409), 409)
    preview = call("GET", "/api/scheduled/preview", 200,
                   params={"schedule": "30 2 * * *", "timezone": "Europe/Berlin", "n": 3})
    assert len(preview.json()["fire_times"]) == 3
    assert call("DELETE", run, 200).json()["run_id"] == run_id
    assert page.seen == set(page.calls)


def test_errors_are_orrerys_own(alice, orrery):
    body = {"model_name": "nobody", "schedule": "61 * * * *", "priority": 77, "strange": 1}
    headers = {"X-Correlation-ID": "my-id.1"}
    theirs = error_of(alice.post("/api/scheduled", json=body, headers=headers), 400)
    with orrery.client(orrery.create_key("alice")) as direct:
        assert theirs == error_of(direct.post("/api/scheduled", json=body, headers=headers), 400)
    assert theirs["correlation_id"] == "my-id.1" and len(theirs["details"]) >= 3
    error_of(alice.post("/api/scheduled", content=b"{", headers={"Content-Type": "application/json"}), 400)
    error_of(alice.post("/api/scheduled", content=b"a=b", headers={"Content-Type": "text/plain"}), 415)
    error_of(alice.get("/api/scheduled", params={"limit": "x", "odd": "ä #&"}), 400)
    error_of(alice.get(f"/api/scheduled/{uuid.uuid4()}"), 404)
    error_of(alice.get("/api/scheduled/%2e%2e%3fx"), 404)


def test_a_large_body_goes_through_as_it_is(alice):
    parameters = {"data": [[float(i), 1, 28.5, 110, 195, 97.2, 60, 3, 5.2417, 85] for i in range(100000)]}
    run_id = make_run(alice, parameters=parameters)
    answer = alice.get(f"/api/scheduled/{run_id}")
    assert len(answer.content) > 3_000_000 and answer.json()["parameters"] == parameters
    alice.delete(f"/api/scheduled/{run_id}")


def test_many_at_once_and_clients_that_go_away(application, alice):
    run_id = make_run(alice)

    async def all_of_them():
        headers = {"Authorization": "Bearer " + TOKENS["alice"]}
        async with httpx.AsyncClient(base_url=application.url, headers=headers, timeout=LIMIT_S) as client:
            with contextlib.suppress(httpx.TimeoutException):
                await asyncio.gather(*(client.post(f"/api/scheduled/{run_id}/trigger", timeout=0.01)
                                       for _ in range(20)))
            answers = await asyncio.gather(*(client.get(f"/api/scheduled/{run_id}") for _ in range(100)))
            return [answer.status_code for answer in answers]

    assert asyncio.run(all_of_them()) == [200] * 100


def test_the_openapi_page_shows_every_call_with_its_models(application):
    with application.client(None) as client:
        assert client.get("/docs").status_code == 200
        calls = OpenApi(client.get("/openapi.json").json()).calls
    assert len(calls) == 18 and not [path for _, path in calls if path.endswith("/")]
    assert len({call["operationId"] for call in calls.values()}) == 18
    for (method, path), call in calls.items():
        shown = {parameter["name"] for parameter in call["parameters"] if parameter["in"] == "path"}
        assert shown == set(re.findall(r"{(\w+)}", path)) and call["security"] and call["summary"]
        assert call["responses"]["503"]["content"]["application/json"]["schema"] == {
            "$ref": "#/components/schemas/Error"}
        takes_body = method in ("POST", "PUT") and not path.endswith("/cancel")
        assert ("requestBody" in call) == takes_body
    body = {name: call["requestBody"]["content"]["application/json"]["schema"]
            for name, call in (("create", calls["POST", "/api/scheduled"]),
                               ("update", calls["PUT", "/api/scheduled/{run_id}"]))}
    assert set(body["create"]["required"]) == {"model_name", "schedule"} and "retry" in body["create"]["properties"]
    assert "default" not in str(body["update"]) and "required" not in body["update"]


# --- when something is not as it should be -------------------------------------------------------------


def test_orrery_down_is_said_and_over_when_it_is_back(orrery, alice):
    run_id = make_run(alice)
    assert orrery.stop() == 0
    answer = alice.get(f"/api/scheduled/{run_id}")
    error_of(answer, 503, "ServiceUnavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    if orrery.socket:
        assert not os.path.exists(orrery.socket)
    else:
        orrery.listen = orrery.url[len("http://"):]  # the application knows it by this port
    orrery.start()
    assert alice.get(f"/api/scheduled/{run_id}").status_code == 200
    orrery.kill()
    error_of(alice.post(f"/api/scheduled/{run_id}/trigger"), 503)
    orrery.start()  # a socket that a killed one left behind is no obstacle
    assert alice.post(f"/api/scheduled/{run_id}/trigger").status_code == 200


def in_application(make_router_arguments, calls, prefix="/v1/jobs", mount=None):
    """Asks an application in this process; its users say their names in X-User."""
    from fastapi import Header

    def user(x_user: str = Header()):
        return {"name": x_user}

    app = FastAPI()
    router = scheduled_router(**{"secret": SECRET, "current_user": user, "owner_of": lambda one: one["name"],
                                 **make_router_arguments})
    app.include_router(router, prefix=prefix)
    if mount is not None:
        inner, app = app, FastAPI()
        app.mount(mount, inner)

    async def ask():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=LIMIT_S,
                                     headers={"X-User": "carol"}) as client:
            answers = [await client.request(method, path, **rest) for method, path, rest in calls]
        await router.aclose()
        return answers

    return asyncio.run(ask())


@pytest.mark.parametrize("prefix,mount", [("/v1/jobs", None), ("/jobs", "/inner/app")])
def test_what_names_a_path_names_the_applications(orrery, prefix, mount):
    base = (mount or "") + prefix
    created, second = in_application(
        {"orrery": address_of(orrery)}, [("POST", base, {"json": run_body()})] * 2, prefix, mount)
    run = f"{base}/{created.json()['run_id']}"
    listed, begun = in_application(
        {"orrery": address_of(orrery)},
        [("GET", base + "/", {"params": {"limit": 1}}),
         ("POST", run + "/trigger", {"headers": {"Prefer": "respond-async"}})], prefix, mount)
    assert f'<{base}?limit=1&offset=1>; rel="next"' in listed.headers["Link"]
    assert begun.headers["Location"] == f"{base}/executions/{begun.json()['execution_id']}"
    for run_id in (created.json()["run_id"], second.json()["run_id"]):
        in_application({"orrery": address_of(orrery)}, [("DELETE", f"{base}/{run_id}", {})], prefix, mount)


def test_an_administrator_sees_all(orrery, alice):
    run_id = make_run(alice)
    arguments = {"orrery": address_of(orrery), "is_admin": lambda user: user["name"] == "root"}
    call = ("GET", f"/v1/jobs/{run_id}", {})
    seen, unseen = in_application(arguments, [(*call[:2], {"headers": {"X-User": "root"}}), call])
    assert (seen.status_code, unseen.status_code) == (200, 404)


def test_a_wrong_secret_is_the_applications_fault_and_not_its_users(orrery):
    answer, = in_application({"orrery": address_of(orrery), "secret": "another secret, of thirty-two bytes"},
                             [("GET", "/v1/jobs", {})])
    body = error_of(answer, 500, "InternalError")
    assert "signature" not in body["message"]
    assert "WWW-Authenticate" not in answer.headers
    with pytest.raises(ValueError, match="32 bytes"):
        scheduled_router("http://x", secret="short", current_user=lambda: "x")
    with pytest.raises(ValueError, match="address"):
        scheduled_router("orrery.sock", secret=SECRET, current_user=lambda: "x")


class Upstream:
    """A server in orrery's place. `answer(handler)` is what it does with a request."""

    def __init__(self):
        self.answer = None
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                upstream.answer(self)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def upstream():
    upstream = Upstream()
    yield upstream
    upstream.end()


def reply(handler, status=200, body=b"{}", **headers):
    handler.send_response(status)
    for name, value in {**headers, **({} if status == 204 else {"Content-Length": str(len(body))})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@contextlib.contextmanager
def application_before(upstream, secret_file, tmp_path, may_have_traceback=False):
    application = Application(tmp_path, upstream.url, secret_file)
    try:
        with application.client("alice") as client:
            yield application, client
    finally:
        application.end(may_have_traceback)


def test_the_clients_credentials_stay_in_the_application(upstream):
    heard = []

    def answer(handler):
        heard.append((handler.path, dict(handler.headers), handler.rfile.read(int(handler.headers["Content-Length"]))))
        reply(handler)

    upstream.answer = answer
    headers = {"Authorization": "Bearer mine", "Cookie": "session=1", "X-API-Key": "k", "Prefer": "respond-async",
               "Idempotency-Key": "i-1", "If-Match": '"2"', "X-Forwarded-User": "root", "Content-Type": "application/json"}
    in_application({"orrery": upstream.url},
                   [("POST", "/v1/jobs/a%20b/trigger?x=%20y", {"content": b'{"a": 1}', "headers": headers})])
    path, got, body = heard[0]
    got = {name.lower(): value for name, value in got.items()}
    assert path == "/api/scheduled/a%20b/trigger?x=%20y" and body == b'{"a": 1}'
    assert not {"cookie", "x-api-key", "x-forwarded-user", "x-user"} & set(got)
    assert (got["prefer"], got["idempotency-key"], got["if-match"]) == ("respond-async", "i-1", '"2"')
    claims = jwt.decode(got["authorization"][len("Bearer "):], SECRET, algorithms=["HS256"], audience="orrery")
    assert claims["sub"] == "carol" and 0 < claims["exp"] - claims["iat"] <= 60 and "admin" not in claims


def ask_plainly(application, target, **headers):
    """With a client that leaves a target as it is."""
    connection = HTTPConnection(application.url[len("http://"):], timeout=LIMIT_S)
    with contextlib.closing(connection):
        connection.request("GET", target, headers={"Authorization": "Bearer " + TOKENS["alice"], **headers})
        return connection.getresponse().status


def test_queries_statuses_and_header_fields_pass_as_they_are(upstream, secret_file, tmp_path):
    heard = []
    with application_before(upstream, secret_file, tmp_path) as (application, client):
        for query in ("a=1&a=2&b=%26%23%C3%A4+x&=&c", "schedule=30+2+*+*+*&from=T00:00:00%2B01:00", "limit=1&&x"):
            upstream.answer = lambda handler: (heard.append(handler.path), reply(handler))
            assert ask_plainly(application, "/api/scheduled?" + query) == 200
            assert heard.pop() == "/api/scheduled?" + query
        for status in (200, 202, 204, 301, 404, 409, 412, 418, 429, 500, 503, 507):
            body = b"" if status == 204 else b'{"status": %d}' % status
            upstream.answer = lambda handler: reply(handler, status, body, **{"Retry-After": "7", "X-Odd": "caf\xe9"})
            answer = client.get("/api/scheduled", follow_redirects=False)
            assert (answer.status_code, answer.content) == (status, body)
            assert answer.headers["Retry-After"] == "7" and (b"x-odd", b"caf\xe9") in answer.headers.raw
        upstream.answer = lambda handler: (heard.append(handler.headers["Idempotency-Key"]), reply(handler, 201))
        # Bytes that are no ASCII are a client's own business, and orrery's.
        answer = client.post("/api/scheduled", json={}, headers={b"Idempotency-Key": b"caf\xe9"})
        assert answer.status_code == 201 and heard.pop() == "caf\xe9"


MEGABYTES = 96


def memory_peak_kb(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def test_large_bodies_stream_through_both_ways_and_are_never_there_as_a_whole(upstream, secret_file, tmp_path):
    """Each side gives its first piece, and the rest when the other side has that."""
    first_is_there = threading.Event()
    piece = b"[" + b"1," * 524287 + b"1"

    def send_large(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(MEGABYTES * len(piece)))
        handler.end_headers()
        handler.wfile.write(piece)
        assert first_is_there.wait(LIMIT_S)
        for _ in range(MEGABYTES - 1):
            handler.wfile.write(piece)

    def take_large(handler):
        left = int(handler.headers["Content-Length"])
        left -= len(handler.rfile.read(1000))
        first_is_there.set()
        while left > 0:
            left -= len(handler.rfile.read(min(left, 1 << 20)))
        reply(handler, 201, b'{"taken": true}')

    def pieces():
        yield piece
        assert first_is_there.wait(LIMIT_S)
        for _ in range(MEGABYTES - 1):
            yield piece

    with application_before(upstream, secret_file, tmp_path) as (application, client):
        upstream.answer = reply
        client.get("/api/scheduled")
        before_kb = memory_peak_kb(application.process.pid)
        upstream.answer = send_large
        received = 0
        with client.stream("GET", "/api/scheduled/x/executions") as answer:
            for chunk in answer.iter_raw():
                received += len(chunk)
                first_is_there.set()
        assert received == MEGABYTES * len(piece)
        first_is_there.clear()
        upstream.answer = take_large
        answer = client.post("/api/scheduled", content=pieces(), headers={
            "Content-Type": "application/json", "Content-Length": str(MEGABYTES * len(piece))})
        assert answer.status_code == 201 and answer.json() == {"taken": True}
        assert memory_peak_kb(application.process.pid) - before_kb < MEGABYTES * 1024 // 4


def test_what_breaks_off_breaks_off_for_the_client_and_is_said(upstream, secret_file, tmp_path):
    def break_off(handler):
        handler.close_connection = True

    def break_off_later(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\n[1,\r\n")
        handler.close_connection = True

    with application_before(upstream, secret_file, tmp_path, may_have_traceback=True) as (application, client):
        upstream.answer = break_off
        error_of(client.post("/api/scheduled/x/trigger"), 502, "BadGateway")
        assert "Traceback" not in application.log.read_text()
        upstream.answer = break_off_later
        with pytest.raises(httpx.RemoteProtocolError):  # and not an answer that looks whole
            client.get("/api/scheduled/x/executions")
        wait_for(lambda: "orrery broke off its answer to /api/scheduled/x/executions" in application.log.read_text(),
                 "the log line")
        upstream.answer = reply
        assert client.get("/api/scheduled").status_code == 200


def test_an_answer_that_does_not_come_in_time_is_504(upstream):
    over = threading.Event()
    upstream.answer = lambda handler: (over.wait(LIMIT_S), reply(handler))
    try:
        answer, = in_application({"orrery": upstream.url, "timeout": 0.2}, [("GET", "/v1/jobs", {})])
    finally:
        over.set()
    error_of(answer, 504, "TimedOut")


@pytest.mark.parametrize("owner", [7, "", None])
def test_an_owner_that_is_no_name_is_the_programmers_mistake(owner):
    with pytest.raises(TypeError, match="owner_of"):
        in_application({"orrery": "http://127.0.0.1:1", "owner_of": lambda user: owner}, [("GET", "/v1/jobs", {})])


# --- orrery's side of it ---------------------------------------------------------------------------------


def test_tokens_that_are_not_in_force_are_refused(orrery):
    now = int(time.time())
    good = {"sub": "alice", "aud": "orrery", "iat": now, "exp": now + 60}

    def ask(claims, secret=SECRET, algorithm="HS256"):
        with orrery.client(jwt.encode({**good, **claims}, secret, algorithm)) as client:
            return client.get("/api/scheduled")

    assert ask({}).status_code == 200
    for arguments, reason in ((({"exp": now - 1, "iat": now - 60},), "expired"), (({"aud": "other"},), "aud"),
                              (({"exp": now + 3600},), "600 seconds"), (({"sub": ""},), "sub"),
                              (({}, "another secret"), "signature"), (({}, None, "none"), "not a signed"),
                              (({}, SECRET, "HS512"), "HS256")):
        assert reason in error_of(ask(*arguments), 401, "Unauthorized")["message"]


def test_a_secret_that_others_may_read_stops_the_start(make_daemon, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    daemon = make_daemon(options=["--token-secret-file", str(secret)])
    daemon.spawn()
    assert daemon.process.wait(LIMIT_S) == 2
    assert "chmod 600" in daemon.new_log() and SECRET not in daemon.new_log()


def test_a_socket_somebody_listens_on_is_not_taken(make_daemon, tmp_path):
    first = make_daemon(listen=f"unix:{tmp_path}/s").start()
    assert os.stat(first.socket).st_mode & 0o7777 == 0o660
    other = make_daemon(listen=first.listen)
    other.spawn()
    assert other.process.wait(LIMIT_S) == 1
    assert "in use" in other.new_log()
    with first.client() as client:
        assert client.get("/readyz").status_code == 200


# --- the documentation -----------------------------------------------------------------------------------


def free_ports(count):
    """Ports below those that the kernel gives to connections, so that none is taken before it is used."""
    sockets = []
    while len(sockets) < count:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            one.bind(("127.0.0.1", random.randrange(20000, 32000)))
            sockets.append(one)
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_the_readme_can_be_followed_word_by_word(tmp_path):
    text = (PACKAGE / "README.md").read_text().split("## Try it\n")[1].split("\n## ")[0]
    port_of_orrery, port = free_ports(2)
    text = text.replace("8080", port_of_orrery).replace("8000", port)
    (app, ), (model, ), (start, create, read) = (
        re.findall(rf"```{language}\n(.*?)```", text, re.S) for language in ("python", "json", "sh"))
    (tmp_path / "app.py").write_text(app)
    (tmp_path / "models" / "double").mkdir(parents=True)
    (tmp_path / "models" / "double" / "model.json").write_text(model)
    # orrery and python3 as they are found on a machine where they are installed.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "orrery").symlink_to(BINARY)
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:/usr/bin:/bin", "ORRERY": str(ROOT),
                   "ORRERY_LISTEN": "127.0.0.1:" + port_of_orrery}

    def shell(script):
        done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True,
                              text=True, timeout=LIMIT_S)
        assert done.returncode == 0, done.stderr
        return done.stdout

    log = tmp_path / "log"
    with open(log, "wb") as output:
        both = subprocess.Popen(["bash", "-c", f"trap : TERM\n{start}wait; wait"], cwd=tmp_path, env=environment,
                                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for(lambda: "running on" in log.read_text() and "event=ready" in log.read_text(), "both")
        run = re.search(r'"run_id":"([^"]+)"', shell(create))[1]
        read = f"RUNS=http://127.0.0.1:{port}/api/scheduled\nRUN={run}\n{read}"
        said = wait_for(lambda: '"result"' in (answer := shell(read)) and answer, "an execution")
        assert '"trigger":"schedule"' in said and re.search(r'"result":\[2(\.0)?,4(\.0)?,6(\.0)?\]', said)
        assert said.count('"error":"NotFound"') == 1
    finally:
        os.killpg(both.pid, signal.SIGTERM)
        both.wait(LIMIT_S)
    assert "Traceback" not in log.read_text(), log.read_text()


def test_the_secret_is_read_as_orrery_reads_it(tmp_path):
    for text, secret in ((b"abc\n", b"abc"), (b"abc\r\n", b"abc"), (b"abc\n\n", b"abc\n"), (b"abc", b"abc"),
                         (b" a\r", b" a\r")):
        (tmp_path / "secret").write_bytes(text)
        assert read_secret(tmp_path / "secret") == secret

"""A FastAPI application, served by uvicorn, whose users' scheduled runs are orrery's (integrations/fastapi)."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import jwt
import pytest
from conftest import EXAMPLE_MODELS, LIMIT_S, ROOT, error_of, executions, run_body, wait_for

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

    def end(self):
        self.process.terminate()
        self.process.wait(LIMIT_S)
        log = self.log.read_text()
        assert "Traceback" not in log, log[-8000:]


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


def test_who_is_nobody_to_the_application_is_nobody_here(application):
    with application.client(None) as client:
        assert client.get("/api/scheduled").status_code in (401, 403)
        client.headers["Authorization"] = "Bearer " + Connection("http://x", SECRET, None).token("alice", True)
        assert client.get("/api/scheduled").status_code == 401
        # A key for orrery itself is no way in, either.
        assert client.get("/api/scheduled", headers={"X-API-Key": "ork_x"}).status_code == 401


# --- every call, as orrery answers it -----------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_call(alice, slash):
    run_id = make_run(alice)
    run = f"/api/scheduled/{run_id}"

    def call(method, path, status, **rest):
        answer = alice.request(method, path + slash, **rest)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.headers["X-Correlation-ID"] and answer.headers["RateLimit-Policy"]
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


def test_the_openapi_page_shows_it_all(application):
    with application.client(None) as client:
        assert client.get("/docs").status_code == 200
        paths = client.get("/openapi.json").json()["paths"]
    create = paths["/api/scheduled"]["post"]
    schema = create["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["required"]) == {"model_name", "schedule"} and "retry" in schema["properties"]
    update = paths["/api/scheduled/{run_id}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert "default" not in str(update) and "required" not in update
    assert create["security"] and "201" in create["responses"]
    assert sum(len(methods) for path, methods in paths.items() if path.startswith("/api/scheduled")) == 18
    assert not [path for path in paths if path.endswith("/")]


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


def test_the_clients_credentials_stay_in_the_application():
    heard = []

    class Upstream(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    headers = {"Authorization": "Bearer mine", "Cookie": "session=1", "X-API-Key": "k", "Prefer": "respond-async",
               "Idempotency-Key": "i-1", "If-Match": '"2"', "X-Forwarded-User": "root", "Content-Type": "application/json"}
    try:
        in_application({"orrery": f"http://127.0.0.1:{server.server_port}"},
                       [("POST", "/v1/jobs/a%20b/trigger?x=%20y", {"content": b'{"a": 1}', "headers": headers})])
    finally:
        server.shutdown()
        server.server_close()
    path, got, body = heard[0]
    got = {name.lower(): value for name, value in got.items()}
    assert path == "/api/scheduled/a%20b/trigger?x=%20y" and body == b'{"a": 1}'
    assert not {"cookie", "x-api-key", "x-forwarded-user", "x-user"} & set(got)
    assert (got["prefer"], got["idempotency-key"], got["if-match"]) == ("respond-async", "i-1", '"2"')
    claims = jwt.decode(got["authorization"][len("Bearer "):], SECRET, algorithms=["HS256"], audience="orrery")
    assert claims["sub"] == "carol" and 0 < claims["exp"] - claims["iat"] <= 60 and "admin" not in claims


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


def test_the_secret_is_read_as_orrery_reads_it(tmp_path):
    for text, secret in ((b"abc\n", b"abc"), (b"abc\r\n", b"abc"), (b"abc\n\n", b"abc\n"), (b"abc", b"abc"),
                         (b" a\r", b" a\r")):
        (tmp_path / "secret").write_bytes(text)
        assert read_secret(tmp_path / "secret") == secret

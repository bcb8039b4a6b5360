"""Every call of the contract, as a client of the Python application would make it."""

import re
import uuid

import pytest
from conftest import create, error_of, run_body

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
RUN_FIELDS = {
    "run_id", "model_name", "schedule", "enabled", "parameters", "last_run", "next_run", "created_at",
    "updated_at", "timezone", "name", "description", "start_at", "end_at", "jitter", "overlap", "catchup",
    "catchup_window", "dst_missing", "dst_repeated", "timeout", "retry", "model_version", "priority",
    "paused_at", "note"}
EXECUTION_FIELDS = {
    "execution_id", "run_id", "model_name", "model_version", "model_digest", "trigger", "attempt", "status",
    "scheduled_for", "queued_at", "started_at", "finished_at", "duration_ms", "result", "error"}


def links_of(answer):
    return {relation: link for link, relation in
            re.findall(r'<([^>]*)>; rel="([^"]*)"', answer.headers.get("Link", ""))}


def test_create_answers_201_with_the_details(api):
    answer = api.post("/api/scheduled", json=run_body(name="n", enabled=True))
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"run_id", "message", "schedule_details"}
    assert uuid.UUID(body["run_id"]).version == 7
    details = body["schedule_details"]
    assert set(details) == RUN_FIELDS | {"next_runs"}
    assert details["run_id"] == body["run_id"]
    assert details["parameters"] == run_body()["parameters"]
    assert len(details["next_runs"]) == 5
    assert details["next_run"] == details["next_runs"][0]
    assert details["last_run"] is None
    assert details["created_at"] == details["updated_at"]
    for name in ("created_at", "updated_at", "next_run"):
        assert TIME.match(details[name])
    assert answer.headers["ETag"] == '"1"'


def test_get_answers_what_was_created(api):
    created = api.post("/api/scheduled", json=run_body(
        timezone="Europe/Berlin", description="d", start_at="2027-01-01T00:00:00+01:00", jitter="90s",
        overlap="queue_one", catchup="none", catchup_window="2d", dst_missing="skip", dst_repeated="both",
        timeout="1m30s", retry={"max_attempts": 2, "backoff": "1s", "max_backoff": "1m"},
        model_version=1)).json()["schedule_details"]
    answer = api.get(f"/api/scheduled/{created['run_id']}")
    assert answer.status_code == 200
    body = answer.json()
    del created["next_runs"]
    assert body == created
    assert body["start_at"] == "2026-12-31T23:00:00.000000Z"
    assert body["jitter"] == "1m30s" and body["timeout"] == "1m30s" and body["catchup_window"] == "2d"
    assert body["retry"] == {"max_attempts": 2, "backoff": "1s", "max_backoff": "1m", "non_retryable": []}
    assert body["model_version"] == 1
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Content-Type"] == "application/json"


def test_numbers_survive_digit_by_digit(daemon, key):
    """A number that a double cannot hold comes back as it was given."""
    text = ('{"model_name": "diabetes", "schedule": "@yearly", "parameters": {"data": '
            '[[52.10000000000000000001, 1, 28.5, 110, 195, 97.2, 60, 3, 5.2417, 9007199254740993]]}}')
    with daemon.client(key) as api:
        answer = api.post("/api/scheduled", content=text,
                          headers={"Content-Type": "application/json; charset=utf-8"})
        assert answer.status_code == 201
        shown = api.get(f"/api/scheduled/{answer.json()['run_id']}").text
    assert "52.10000000000000000001" in shown and "9007199254740993" in shown


def test_update_changes_what_is_given_and_keeps_the_rest(api):
    run_id = create(api, name="old", description="stays")
    answer = api.put(f"/api/scheduled/{run_id}", json={"name": "new", "schedule": "30 4 * * *"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"run_id", "message", "schedule_details"} and body["run_id"] == run_id
    details = body["schedule_details"]
    assert details["name"] == "new" and details["description"] == "stays"
    assert details["next_run"].endswith("04:30:00.000000Z")
    assert answer.headers["ETag"] == '"2"'
    shown = api.get(f"/api/scheduled/{run_id}")
    assert shown.headers["ETag"] == '"2"'
    assert shown.json()["schedule"] == "30 4 * * *"
    assert shown.json()["updated_at"] > shown.json()["created_at"]


def test_null_resets_an_optional_field(api):
    run_id = create(api, name="n", timeout="1h", retry={"max_attempts": 9})
    details = api.put(f"/api/scheduled/{run_id}",
                      json={"name": None, "timeout": None}).json()["schedule_details"]
    assert details["name"] is None and details["timeout"] == "5m"
    assert details["retry"]["max_attempts"] == 9


def test_a_disabled_run_has_no_next_run(api):
    run_id = create(api, enabled=False)
    assert api.get(f"/api/scheduled/{run_id}").json()["next_run"] is None
    enabled = api.put(f"/api/scheduled/{run_id}", json={"enabled": True}).json()["schedule_details"]
    assert enabled["next_run"] is not None
    disabled = api.put(f"/api/scheduled/{run_id}", json={"enabled": False}).json()["schedule_details"]
    assert disabled["next_run"] is None


def test_if_match_guards_a_change(api):
    run_id = create(api)
    path = f"/api/scheduled/{run_id}"
    assert api.put(path, json={"name": "a"}, headers={"If-Match": '"1"'}).status_code == 200
    error_of(api.put(path, json={"name": "b"}, headers={"If-Match": '"1"'}), 412, "PreconditionFailed")
    error_of(api.put(path, json={"name": "b"}, headers={"If-Match": 'W/"2"'}), 412)
    error_of(api.put(path, json={"name": "b"}, headers={"If-Match": "2"}), 400)
    assert api.get(path).json()["name"] == "a"
    assert api.put(path, json={"name": "c"}, headers={"If-Match": '"7", "2"'}).status_code == 200
    assert api.put(path, json={"name": "d"}, headers={"If-Match": "*"}).status_code == 200
    error_of(api.delete(path, headers={"If-Match": '"1"'}), 412)
    assert api.delete(path, headers={"If-Match": '"4"'}).status_code == 200


def test_changes_at_the_same_time_all_arrive(daemon, key, api):
    from concurrent.futures import ThreadPoolExecutor

    run_id = create(api)

    def change(name):
        with daemon.client(key) as client:
            return client.put(f"/api/scheduled/{run_id}", json={name: "x"}).status_code

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(change, ["name", "description"])) == {200}
    shown = api.get(f"/api/scheduled/{run_id}")
    assert shown.json()["name"] == "x" and shown.json()["description"] == "x"
    assert shown.headers["ETag"] == '"3"'


def test_delete_answers_200_and_then_404(api):
    run_id = create(api)
    answer = api.delete(f"/api/scheduled/{run_id}")
    assert answer.status_code == 200
    assert answer.json()["run_id"] == run_id and answer.json()["message"]
    error_of(api.get(f"/api/scheduled/{run_id}"), 404, "NotFound")
    error_of(api.delete(f"/api/scheduled/{run_id}"), 404)
    error_of(api.put(f"/api/scheduled/{run_id}", json={"name": "x"}), 404)
    error_of(api.post(f"/api/scheduled/{run_id}/trigger"), 404)


def test_trigger_answers_the_finished_execution(api):
    run_id = create(api)
    answer = api.post(f"/api/scheduled/{run_id}/trigger")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == EXECUTION_FIELDS
    assert body["status"] == "succeeded" and body["trigger"] == "manual" and body["attempt"] == 1
    assert body["run_id"] == run_id and body["model_name"] == "diabetes" and body["model_version"] == 1
    assert re.fullmatch("[0-9a-f]{64}", body["model_digest"])
    assert body["error"] is None
    assert body["result"]["model_name"] == "diabetes" and body["result"]["outputs"]
    assert body["scheduled_for"] <= body["started_at"] <= body["finished_at"]
    assert body["duration_ms"] >= 0
    assert api.get(f"/api/executions/{body['execution_id']}").json() == body
    assert api.get(f"/api/scheduled/{run_id}/executions").json() == [body]
    assert api.get(f"/api/scheduled/{run_id}").json()["last_run"] == body["started_at"]


def test_trigger_with_other_parameters_is_for_this_once(api):
    run_id = create(api)
    plain = api.post(f"/api/scheduled/{run_id}/trigger").json()
    other = api.post(f"/api/scheduled/{run_id}/trigger",
                     json={"parameters": {"data": [[27, 1, 24.8, 91, 189, 106.8, 69, 3, 4.1897, 69]]}}).json()
    assert other["result"]["outputs"] != plain["result"]["outputs"]
    again = api.post(f"/api/scheduled/{run_id}/trigger").json()
    assert again["result"]["outputs"] == plain["result"]["outputs"]


def test_trigger_may_be_asked_not_to_wait(api):
    from conftest import wait_for

    run_id = create(api)
    answer = api.post(f"/api/scheduled/{run_id}/trigger", headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert set(body) == EXECUTION_FIELDS
    assert body["status"] in ("queued", "running")
    assert answer.headers["Location"] == f"/api/executions/{body['execution_id']}"
    assert answer.headers["Preference-Applied"] == "respond-async"
    wait_for(lambda: api.get(answer.headers["Location"]).json()["status"] == "succeeded", "the execution")


def test_list_has_pages(daemon):
    with daemon.client(daemon.create_key("lister")) as api:
        ids = [create(api, name=str(i), model_name="diabetes") for i in range(5)]
        answer = api.get("/api/scheduled")
        assert answer.status_code == 200
        assert [run["run_id"] for run in answer.json()] == ids
        assert all(set(run) == RUN_FIELDS for run in answer.json())
        assert answer.headers["X-Total-Count"] == "5"
        assert set(links_of(answer)) == {"first", "last"}
        answer = api.get("/api/scheduled", params={"limit": 2, "offset": 2})
        assert [run["run_id"] for run in answer.json()] == ids[2:4]
        assert answer.headers["X-Total-Count"] == "5"
        links = links_of(answer)
        assert set(links) == {"first", "prev", "next", "last"}
        assert [run["run_id"] for run in api.get(links["next"]).json()] == ids[4:]
        assert [run["run_id"] for run in api.get(links["prev"]).json()] == ids[:2]
        assert [run["run_id"] for run in api.get(links["last"]).json()] == ids[4:]
        assert set(links_of(api.get(links["last"]))) == {"first", "prev", "last"}
        beyond = api.get("/api/scheduled", params={"offset": 100})
        assert beyond.json() == [] and beyond.headers["X-Total-Count"] == "5"


def test_list_may_be_of_one_model(daemon):
    with daemon.client(daemon.create_key("filterer")) as api:
        mine = create(api)
        create(api, model_name="digits", parameters={"data": [[0] * 64]})
        answer = api.get("/api/scheduled", params={"model_name": "diabetes"})
        assert [run["run_id"] for run in answer.json()] == [mine]
        assert answer.headers["X-Total-Count"] == "1"
        assert api.get("/api/scheduled", params={"model_name": "no such / model"}).json() == []


def test_history_has_pages_and_filters(api):
    run_id = create(api)
    made = [api.post(f"/api/scheduled/{run_id}/trigger").json() for _ in range(5)]
    newest_first = [execution["execution_id"] for execution in reversed(made)]
    path = f"/api/scheduled/{run_id}/executions"
    seen = []
    answer = api.get(path, params={"limit": 2})
    while True:
        assert len(answer.json()) <= 2
        seen += [execution["execution_id"] for execution in answer.json()]
        if "next" not in links_of(answer):
            break
        answer = api.get(links_of(answer)["next"])
    assert seen == newest_first
    assert len(api.get(path, params={"status": "succeeded"}).json()) == 5
    assert api.get(path, params={"status": "failed"}).json() == []
    since = made[3]["scheduled_for"]
    assert len(api.get(path, params={"since": since}).json()) == 2
    assert len(api.get(path, params={"until": since}).json()) == 3
    assert len(api.get(path, params={"since": since.replace("Z", "+00:00")}).json()) == 2


@pytest.mark.parametrize("query", [
    {"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"limit": ""}, {"limit": "-1"}, {"limit": "1.5"},
    {"offset": "-1"}, {"offset": "x"}, {"color": "red"}, {"cursor": "x"}])
def test_a_bad_query_of_the_list_is_named(api, query):
    body = error_of(api.get("/api/scheduled", params=query), 400)
    assert list(query)[0] in body["message"]


@pytest.mark.parametrize("query", [
    {"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"status": "done"}, {"status": ""}, {"since": "x"},
    {"until": "2027-01-01"}, {"cursor": "x"}, {"offset": "1"}])
def test_a_bad_query_of_the_history_is_named(api, query):
    run_id = create(api)
    body = error_of(api.get(f"/api/scheduled/{run_id}/executions", params=query), 400)
    assert list(query)[0] in body["message"]


def test_a_query_parameter_comes_once(api):
    assert "limit" in error_of(api.get("/api/scheduled?limit=1&limit=2"), 400)["message"]


def test_a_trailing_slash_is_the_same_call(api):
    answer = api.post("/api/scheduled/", json=run_body())
    assert answer.status_code == 201
    run_id = answer.json()["run_id"]
    assert api.get("/api/scheduled/").status_code == 200
    assert api.get(f"/api/scheduled/{run_id}/").json()["run_id"] == run_id
    assert api.put(f"/api/scheduled/{run_id}/", json={"name": "x"}).status_code == 200
    assert api.post(f"/api/scheduled/{run_id}/trigger/").status_code == 200
    assert len(api.get(f"/api/scheduled/{run_id}/executions/").json()) == 1
    assert api.delete(f"/api/scheduled/{run_id}/").status_code == 200


def test_a_correlation_id_is_taken_over_if_it_is_safe(api):
    answer = api.get("/api/scheduled", headers={"X-Correlation-ID": "trace-1.2:3_x"})
    assert answer.headers["X-Correlation-ID"] == "trace-1.2:3_x"
    missing = api.get("/api/scheduled/x", headers={"X-Correlation-ID": "trace-2"})
    assert error_of(missing, 404)["correlation_id"] == "trace-2"
    for unsafe in ("a b", 'a"b', "a;b", "x" * 129):
        answer = api.get("/api/scheduled", headers={"X-Correlation-ID": unsafe})
        assert answer.headers["X-Correlation-ID"] != unsafe
    ids = {api.get("/api/scheduled").headers["X-Correlation-ID"] for _ in range(50)}
    assert len(ids) == 50


def test_every_answer_has_the_security_headers(api):
    for answer in (api.get("/api/scheduled"), api.get("/healthz"), api.get("/nowhere"),
                   api.post("/api/scheduled", content="x")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == "application/json"


def test_unknown_and_malformed_ids_are_not_there(api):
    for run_id in ("x", "0", str(uuid.uuid4()), "00000000-0000-7000-8000-000000000000", "%2e%2e", "a" * 300,
                   create(api)[:-1] + "g"):
        error_of(api.get(f"/api/scheduled/{run_id}"), 404, "NotFound")
        error_of(api.put(f"/api/scheduled/{run_id}", json={"name": "x"}), 404)
        error_of(api.delete(f"/api/scheduled/{run_id}"), 404)
        error_of(api.post(f"/api/scheduled/{run_id}/trigger"), 404)
        error_of(api.get(f"/api/scheduled/{run_id}/executions"), 404)
        error_of(api.get(f"/api/executions/{run_id}"), 404)


def test_an_id_is_the_same_in_capitals(api):
    run_id = create(api)
    assert api.get(f"/api/scheduled/{run_id.upper()}").json()["run_id"] == run_id


def test_a_wrong_method_is_told_the_right_ones(api):
    answer = api.patch("/api/scheduled", json={})
    error_of(answer, 405, "MethodNotAllowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}
    answer = api.get(f"/api/scheduled/{create(api)}/trigger")
    error_of(answer, 405)
    assert answer.headers["Allow"] == "POST"
    error_of(api.request("BREW", "/healthz"), 405)


def test_an_unknown_path_is_not_there(api):
    for path in ("/", "/api", "/api/nothing", "/api/scheduled/a/b", "/api/scheduledd"):
        error_of(api.get(path), 404, "NotFound")


def test_a_head_is_a_get_without_the_body(api):
    path = f"/api/scheduled/{create(api)}"
    answer = api.head(path)
    assert answer.status_code == 200 and answer.content == b""
    assert answer.headers["ETag"] == '"1"'
    assert int(answer.headers["Content-Length"]) == len(api.get(path).content)


def test_health_needs_no_key(daemon):
    with daemon.client() as nobody:
        answer = nobody.get("/healthz")
        assert answer.status_code == 200 and answer.json() == {"status": "ok"}
        answer = nobody.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["status"] == "ready"
        assert answer.json()["checks"] == {
            "store": "ok", "models": "ok", "workers": "ok", "scheduler": "ok"}


def test_preview_tells_fire_times_in_words_with_warnings(api):
    answer = api.get("/api/schedule/preview", params={
        "schedule": "30 2 * * *", "timezone": "America/New_York", "from": "2027-03-13T00:00:00Z", "n": "3"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["fire_times"] == ["2027-03-13T07:30:00.000000Z", "2027-03-14T07:00:00.000000Z",
                                  "2027-03-15T06:30:00.000000Z"]
    assert body["description"]
    assert any("2027-03-14" in warning for warning in body["warnings"])
    error_of(api.get("/api/schedule/preview"), 400)
    error_of(api.get("/api/schedule/preview", params={"schedule": "61 * * * *"}), 400,
             "InvalidCronExpression")
    error_of(api.get("/api/schedule/preview", params={"schedule": "@daily", "timezone": "Mars/X"}), 400,
             "InvalidTimezone")


def test_requests_beyond_the_rate_are_refused(make_daemon):
    limited = make_daemon(options=["--rate-limit", "5"]).start()
    with limited.client(limited.create_key("busy")) as api, limited.client(
            limited.create_key("calm")) as other:
        answers = [api.get("/api/scheduled") for _ in range(30)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert refused and answers[0].status_code == 200
        for answer in refused:
            error_of(answer, 429, "RateLimited")
            assert int(answer.headers["Retry-After"]) >= 1
            assert "RateLimit" in answer.headers and "RateLimit-Policy" in answer.headers
        assert other.get("/api/scheduled").status_code == 200
        assert api.get("/healthz").status_code == 200

"""Backfills: the slots of a range, each executed once beside the schedule, whatever happens meanwhile."""

import re
import uuid

import pytest
from conftest import create, error_of, executions, wait_for, write_line_model, write_slow_model

DAY = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
BACKFILL_FIELDS = {"backfill_id", "run_id", "from", "to", "parallelism", "status", "slot_count", "recorded",
                   "counts", "next_slot", "created_at", "cancelled_at"}
LONG = {"inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [2**40]}]}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_line_model(folder, "line", 1, 2, 1)
    write_line_model(folder, "pair", 1, 10, 0, shape=("n", 2))
    write_slow_model(folder, "slow")
    return folder


@pytest.fixture(scope="module")
def daemon(make_daemon, models):
    return make_daemon(models).start()


@pytest.fixture(scope="module")
def mallory(daemon):
    with daemon.client(daemon.create_key("mallory")) as client:
        yield client


def line(api, **fields):
    fields = {"schedule": "0 * * * *", "model_name": "line", "parameters": {"data": [[1.0]]}, **fields}
    return create(api, **fields)


def backfill(api, run_id, **fields):
    answer = api.post(f"/api/scheduled/{run_id}/backfills", json={**DAY, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def show(api, made):
    answer = api.get(f"/api/backfills/{made['backfill_id']}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def completed(api, made):
    def is_completed():
        shown = show(api, made)
        return shown["status"] == "completed" and shown

    return wait_for(is_completed, "the end of the backfill")


def of_backfill(api, run_id):
    found, cursor = [], {}
    while True:
        answer = api.get(f"/api/scheduled/{run_id}/executions", params={"limit": 1000, **cursor})
        found += [e for e in answer.json() if e["trigger"] == "backfill"]
        more = re.search(r"cursor=([^&>]*)", answer.headers.get("Link", ""))
        if not more:
            return found
        cursor = {"cursor": more.group(1)}


def retries_under_way(api, run_id):
    return any(e["attempt"] > 1 and e["status"] in ("queued", "running") for e in of_backfill(api, run_id))


def test_every_slot_of_the_range_is_executed_once(api):
    run_id = line(api)
    answer = api.post(f"/api/scheduled/{run_id}/backfills", json={**DAY, "parallelism": 4})
    made = answer.json()
    assert answer.status_code == 201
    assert set(made) == BACKFILL_FIELDS
    assert answer.headers["Location"] == f"/api/backfills/{made['backfill_id']}"
    assert uuid.UUID(made["backfill_id"]).version == 7
    assert made["run_id"] == run_id and made["parallelism"] == 4 and made["slot_count"] == 24
    assert made["status"] == "running" and made["recorded"] == 0 and made["cancelled_at"] is None
    assert made["next_slot"] == made["from"] == "2026-01-01T00:00:00.000000Z"
    over = completed(api, made)
    assert over["recorded"] == 24 and over["next_slot"] is None
    assert over["counts"] == {"queued": 0, "running": 0, "succeeded": 24, "failed": 0, "timed_out": 0,
                              "cancelled": 0}
    found = of_backfill(api, run_id)
    assert sorted(e["scheduled_for"] for e in found) == [
        f"2026-01-01T{hour:02}:00:00.000000Z" for hour in range(24)]
    assert {e["backfill_id"] for e in found} == {made["backfill_id"]}
    assert {e["result"]["outputs"][0]["data"][0] for e in found} == {3.0}
    # Only there does an execution name one.
    other = api.post(f"/api/scheduled/{run_id}/trigger").json()
    assert "backfill_id" not in other


def test_it_may_have_parameters_of_its_own(api):
    run_id = line(api)
    completed(api, backfill(api, run_id, to="2026-01-01T03:00:00Z", parameters={"data": [[10.0]]}))
    assert {e["result"]["outputs"][0]["data"][0] for e in of_backfill(api, run_id)} == {21.0}


def test_the_same_range_may_be_executed_again(api):
    run_id = line(api)
    first = completed(api, backfill(api, run_id, to="2026-01-01T02:00:00Z"))
    second = completed(api, backfill(api, run_id, to="2026-01-01T02:00:00Z"))
    found = of_backfill(api, run_id)
    assert len(found) == 4
    assert {e["backfill_id"] for e in found} == {first["backfill_id"], second["backfill_id"]}


@pytest.mark.parametrize("state", ["disabled", "paused"])
def test_a_run_that_does_not_fire_is_backfilled_all_the_same(api, state):
    run_id = line(api, enabled=state != "disabled")
    if state == "paused":
        api.post(f"/api/scheduled/{run_id}/pause")
    over = completed(api, backfill(api, run_id, to="2026-01-01T05:00:00Z"))
    assert over["counts"]["succeeded"] == 5
    assert len(of_backfill(api, run_id)) == len(executions(api, run_id)) == 5


def test_live_slots_go_on_beside_it(api):
    run_id = line(api, schedule="* * * * * *", overlap="allow")
    made = backfill(api, run_id, to="2026-01-01T00:30:00Z", parallelism=2)
    assert made["slot_count"] == 1800
    live = wait_for(lambda: [e for e in executions(api, run_id, limit=1000, since="2026-06-01T00:00:00Z")
                             if e["trigger"] == "schedule" and e["status"] == "succeeded"],
                    "a live slot")
    assert "backfill_id" not in live[0]
    over = completed(api, made)
    assert over["recorded"] == over["counts"]["succeeded"] == 1800
    api.put(f"/api/scheduled/{run_id}", json={"enabled": False})
    slots = [e["scheduled_for"] for e in of_backfill(api, run_id)]
    assert len(slots) == len(set(slots)) == 1800


def test_no_more_run_at_once_than_its_parallelism(api):
    run_id = create(api, model_name="slow", schedule="0 * * * *", parameters=LONG)
    made = backfill(api, run_id, parallelism=1)
    wait_for(lambda: show(api, made)["counts"]["running"] == 1, "the first slot")
    shown = show(api, made)
    assert shown["recorded"] == 1 and shown["next_slot"] == "2026-01-01T01:00:00.000000Z"
    answer = api.post(f"/api/backfills/{made['backfill_id']}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled" and answer.json()["cancelled_at"]
    over = wait_for(lambda: show(api, made)["counts"]["cancelled"] == 1 and show(api, made),
                    "the end of what ran")
    assert over["status"] == "cancelled" and over["recorded"] == 1 and over["next_slot"] is None
    error = error_of(api.post(f"/api/backfills/{made['backfill_id']}/cancel"), 409, "Conflict")
    assert "cancelled" in error["message"]


def test_the_last_slots_can_still_be_cancelled(api):
    run_id = create(api, model_name="slow", schedule="0 * * * *", parameters=LONG)
    made = backfill(api, run_id, to="2026-01-01T01:00:00Z")
    wait_for(lambda: show(api, made)["counts"]["running"] == 1, "the only slot")
    assert show(api, made)["next_slot"] is None and show(api, made)["status"] == "running"
    assert api.post(f"/api/backfills/{made['backfill_id']}/cancel").status_code == 200
    wait_for(lambda: show(api, made)["counts"]["cancelled"] == 1, "the end of what ran")


def test_what_is_over_cannot_be_cancelled(api):
    made = completed(api, backfill(api, line(api), to="2026-01-01T01:00:00Z"))
    error = error_of(api.post(f"/api/backfills/{made['backfill_id']}/cancel"), 409, "Conflict")
    assert "completed" in error["message"]
    assert show(api, made) == made


def test_a_kill_loses_and_doubles_no_slot_of_it(make_daemon, models):
    daemon = make_daemon(models).start()
    key = daemon.create_key("alice")
    with daemon.client(key) as api:
        run_id = line(api, schedule="* * * * * *", enabled=False)
        made = backfill(api, run_id, to="2026-01-01T02:00:00Z", parallelism=8)
    recorded = 0
    for _ in range(3):
        with daemon.client(key) as api:
            at_least = recorded + 1
            # What one kill interrupted is made again before the next: an attempt more is not in its policy.
            wait_for(lambda: show(api, made)["recorded"] > at_least and not retries_under_way(api, run_id),
                     "some progress")
            recorded = show(api, made)["recorded"]
            assert recorded < 7200  # else nothing is interrupted
        daemon.kill()
        daemon.start()
    with daemon.client(key) as api:
        shown = show(api, made)
        assert shown["recorded"] >= recorded
        over = completed(api, made)
        assert over["slot_count"] == over["recorded"] == 7200
        assert over["counts"]["queued"] == over["counts"]["running"] == 0
        found = of_backfill(api, run_id)
        attempts = [(e["scheduled_for"], e["attempt"]) for e in found]
        assert len(attempts) == len(set(attempts))
        assert len({e["scheduled_for"] for e in found}) == 7200
        # Each slot succeeded once: an attempt that the kill interrupted was made again, no other.
        succeeded = [e["scheduled_for"] for e in found if e["status"] == "succeeded"]
        assert len(succeeded) == len(set(succeeded)) == over["counts"]["succeeded"] == 7200


def test_the_list_is_newest_first_in_pages(api):
    run_id = line(api)
    assert api.get(f"/api/scheduled/{run_id}/backfills").json() == []
    made = [backfill(api, run_id, to="2026-01-01T01:00:00Z")["backfill_id"] for _ in range(5)]
    found, query = [], "limit=2"
    while query:
        answer = api.get(f"/api/scheduled/{run_id}/backfills?{query}")
        assert answer.status_code == 200 and len(answer.json()) <= 2
        assert all(set(one) == BACKFILL_FIELDS for one in answer.json())
        found += [one["backfill_id"] for one in answer.json()]
        link = re.search(r'backfills\?([^>]*)>; rel="next"', answer.headers.get("Link", ""))
        query = link and link.group(1)
    assert found == made[::-1]


@pytest.mark.parametrize("query,field", [("limit=0", "limit"), ("limit=101", "limit"), ("cursor=x", "cursor"),
                                         ("offset=1", "offset")])
def test_a_bad_query_of_the_list_is_named(api, query, field):
    run_id = line(api)
    error = error_of(api.get(f"/api/scheduled/{run_id}/backfills?{query}"), 400, "ValidationError")
    assert error["details"][0]["field"] == field


BAD = [({"from": None}, "from"), ({"to": "tomorrow"}, "to"), ({"to": "2025-12-31T00:00:00Z"}, "to"),
       ({"to": "2026-01-01T00:00:00Z"}, "to"), ({"parallelism": 0}, "parallelism"), ({"parallelism": 65}, "parallelism"),
       ({"parallelism": "2"}, "parallelism"), ({"paralelism": 2}, "paralelism"),
       ({"parameters": {"data": [["x"]]}}, "parameters"), ({"parameters": 3}, "parameters"),
       ({"from": "2026-01-01T00:00:01Z", "to": "2026-01-01T00:59:59Z"}, "from")]


@pytest.mark.parametrize("fields,field", BAD, ids=[str(case) for case in range(len(BAD))])
def test_a_bad_field_is_named_and_nothing_is_made(api, fields, field):
    run_id = line(api)
    answer = api.post(f"/api/scheduled/{run_id}/backfills", json={**DAY, **fields})
    error = error_of(answer, 400)
    assert field in [detail["field"] for detail in error["details"]], error
    assert api.get(f"/api/scheduled/{run_id}/backfills").json() == []


def test_what_is_required_is_missed(api):
    run_id = line(api)
    error = error_of(api.post(f"/api/scheduled/{run_id}/backfills", json={}), 400, "ValidationError")
    assert {detail["field"] for detail in error["details"]} == {"from", "to"}


def test_too_many_slots_are_counted(api):
    run_id = line(api, schedule="* * * * * *")
    error = error_of(api.post(f"/api/scheduled/{run_id}/backfills",
                              json={"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T03:46:41Z"}), 400)
    assert "100001" in error["message"] and "100000" in error["message"]
    assert error["details"][0]["field"] == "to"


def test_another_owners_backfill_is_not_there(api, mallory):
    run_id = line(api)
    made = completed(api, backfill(api, run_id, to="2026-01-01T01:00:00Z"))
    theirs = error_of(mallory.get(f"/api/backfills/{made['backfill_id']}"), 404, "NotFound")
    nobodys = error_of(mallory.get(f"/api/backfills/{uuid.uuid4()}"), 404, "NotFound")
    assert theirs["message"] == nobodys["message"]
    error_of(mallory.post(f"/api/backfills/{made['backfill_id']}/cancel"), 404, "NotFound")
    error_of(mallory.get(f"/api/scheduled/{run_id}/backfills"), 404, "NotFound")
    error_of(mallory.post(f"/api/scheduled/{run_id}/backfills", json=DAY), 404, "NotFound")
    for call in ("pause", "resume"):
        error_of(mallory.post(f"/api/scheduled/{run_id}/{call}"), 404, "NotFound")
    assert show(api, made) == made
    assert api.get(f"/api/scheduled/{run_id}").headers["ETag"] == '"1"'


def test_the_backfills_of_a_deleted_run_go_with_it(api):
    run_id = create(api, model_name="slow", schedule="0 * * * *", parameters=LONG)
    made = backfill(api, run_id)
    running = wait_for(lambda: executions(api, run_id, status="running"), "the first slot")
    assert api.delete(f"/api/scheduled/{run_id}").status_code == 200
    error_of(api.get(f"/api/backfills/{made['backfill_id']}"), 404, "NotFound")
    # What runs may end, and may be cancelled.
    answer = api.post(f"/api/executions/{running[0]['execution_id']}/cancel")
    assert answer.status_code == 200 and answer.json()["status"] == "cancelled"


def test_each_execution_has_the_model_and_the_parameters_of_one_revision(api, daemon, key):
    """The run is changed from one model to another that takes other parameters, and back, while it is backfilled and
    triggered: whatever fits together is recorded together."""
    shapes = [{"model_name": "line", "parameters": {"data": [[1.0]]}},
              {"model_name": "pair", "parameters": {"data": [[1.0, 2.0]]}}]
    run_id = line(api, enabled=False)
    made = backfill(api, run_id, **{"from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}, parallelism=64)
    results = {"line": [3.0], "pair": [10.0, 20.0]}
    changes = 0
    while show(api, made)["status"] not in ("completed", "failed") or changes < 20:
        assert api.put(f"/api/scheduled/{run_id}", json=shapes[changes % 2]).status_code == 200
        changes += 1
        if changes % 5 == 0:
            triggered = api.post(f"/api/scheduled/{run_id}/trigger").json()
            assert triggered["status"] == "succeeded", triggered
    assert show(api, made)["counts"]["succeeded"] == made["slot_count"]
    for execution in executions(api, run_id, limit=1000):
        assert execution["result"]["outputs"][0]["data"] == results[execution["model_name"]], execution

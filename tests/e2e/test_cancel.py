"""POST /api/executions/{id}/cancel, and what the totals of a run tell."""

import threading
import uuid

import pytest
from conftest import create, error_of, executions, wait_for, write_line_model, write_slow_model

LONG = {"inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [2**40]}]}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_line_model(folder, "line", 1, 2, 1)
    write_slow_model(folder, "slow")
    return folder


@pytest.fixture(scope="module")
def daemon(make_daemon, models):
    return make_daemon(models, options=["--workers", "1"]).start()


def slow(api, **fields):
    return create(api, model_name="slow", parameters=LONG, **fields)


def begin(api, run_id):
    """Triggers, and gives the id once it runs."""
    execution_id = api.post(f"/api/scheduled/{run_id}/trigger",
                            headers={"Prefer": "respond-async"}).json()["execution_id"]
    wait_for(lambda: api.get(f"/api/executions/{execution_id}").json()["status"] == "running", "the start")
    return execution_id


def test_what_runs_is_cancelled(api):
    run_id = slow(api)
    execution_id = begin(api, run_id)
    answer = api.post(f"/api/executions/{execution_id}/cancel")
    assert answer.status_code == 200
    cancelled = answer.json()
    assert cancelled["execution_id"] == execution_id and cancelled["status"] == "cancelled"
    assert cancelled["error"]["type"] == "Cancelled" and cancelled["finished_at"]
    assert api.get(f"/api/executions/{execution_id}").json() == cancelled
    # No further attempt comes of it, and the worker takes other work.
    assert len(executions(api, run_id)) == 1
    line = create(api, model_name="line", parameters={"data": [[1.0]]})
    assert api.post(f"/api/scheduled/{line}/trigger").json()["status"] == "succeeded"


def test_what_waits_is_cancelled_and_never_starts(api):
    run_id = slow(api, schedule="* * * * * *", overlap="queue_all")
    queued = wait_for(lambda: executions(api, run_id, status="queued"), "a slot that waits")[-1]
    answer = api.post(f"/api/executions/{queued['execution_id']}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled" and answer.json()["started_at"] is None
    api.put(f"/api/scheduled/{run_id}", json={"enabled": False})
    for execution in executions(api, run_id, limit=1000):
        if execution["status"] in ("queued", "running"):
            api.post(f"/api/executions/{execution['execution_id']}/cancel")
    wait_for(lambda: not executions(api, run_id, status="running")
             and not executions(api, run_id, status="queued"), "the end of all")


def test_who_waits_for_a_trigger_is_told_of_the_cancel(daemon, key, api):
    run_id = slow(api)
    answers = []

    def trigger():
        with daemon.client(key) as other:
            answers.append(other.post(f"/api/scheduled/{run_id}/trigger"))

    waiting = threading.Thread(target=trigger)
    waiting.start()
    running = wait_for(lambda: executions(api, run_id, status="running"), "the start")
    api.post(f"/api/executions/{running[0]['execution_id']}/cancel")
    waiting.join()
    assert answers[0].status_code == 200 and answers[0].json()["status"] == "cancelled"


def test_what_has_ended_cannot_be_cancelled(api):
    run_id = create(api, model_name="line", parameters={"data": [[1.0]]})
    ended = api.post(f"/api/scheduled/{run_id}/trigger").json()
    error = error_of(api.post(f"/api/executions/{ended['execution_id']}/cancel"), 409, "Conflict")
    assert "succeeded" in error["message"]
    assert api.get(f"/api/executions/{ended['execution_id']}").json() == ended


def test_two_cancels_at_once_both_get_an_answer(daemon, key, api):
    run_id = slow(api)
    execution_id = begin(api, run_id)
    answers = []

    def cancel():
        with daemon.client(key) as other:
            answers.append(other.post(f"/api/executions/{execution_id}/cancel"))

    threads = [threading.Thread(target=cancel) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert any(answer.status_code == 200 for answer in answers)
    assert api.get(f"/api/executions/{execution_id}").json()["status"] == "cancelled"


def test_anothers_execution_is_not_there(daemon, api):
    run_id = slow(api)
    execution_id = begin(api, run_id)
    with daemon.client(daemon.create_key("mallory")) as mallory:
        theirs = error_of(mallory.post(f"/api/executions/{execution_id}/cancel"), 404, "NotFound")
        nobodys = error_of(mallory.post(f"/api/executions/{uuid.uuid4()}/cancel"), 404, "NotFound")
        error_of(mallory.get(f"/api/scheduled/{run_id}/statistics"), 404, "NotFound")
        assert theirs["message"] == nobodys["message"]
    assert api.get(f"/api/executions/{execution_id}").json()["status"] == "running"
    assert api.post(f"/api/executions/{execution_id}/cancel").json()["status"] == "cancelled"


def test_statistics_add_up(api):
    run_id = create(api, model_name="line", parameters={"data": [[1.0]]})
    assert api.get(f"/api/scheduled/{run_id}/statistics").json() == {
        "run_id": run_id, "executions": 0, "duration_ms": 0.0, "mean_duration_ms": None, "missed_slots": 0,
        "removed": 0, "counts": {status: 0 for status in (
            "queued", "running", "succeeded", "failed", "timed_out", "cancelled", "skipped", "missed")}}
    ended = [api.post(f"/api/scheduled/{run_id}/trigger").json() for _ in range(3)]
    told = api.get(f"/api/scheduled/{run_id}/statistics").json()
    assert told["executions"] == told["counts"]["succeeded"] == 3
    total = sum(execution["duration_ms"] for execution in ended)
    assert abs(told["duration_ms"] - total) < 0.01
    assert abs(told["mean_duration_ms"] - total / 3) < 0.01
    error_of(api.get(f"/api/scheduled/{run_id}/statistics?x=1"), 400, "ValidationError")

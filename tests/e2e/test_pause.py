"""Pauses: nothing fires, and the slots in between become one record when they end. Priorities, notes, and which
errors are not tried again."""

import datetime

import pytest
from conftest import create, error_of, executions, run_body, wait_for

RETRYABLE = ["RateLimited", "InternalError", "StoreError", "InputOutputError", "ServiceUnavailable",
             "ModelUnavailable", "WorkerCrashed", "TimedOut", "Interrupted"]


def show(api, run_id):
    return api.get(f"/api/scheduled/{run_id}").json()


def fired(api, run_id):
    return [e for e in executions(api, run_id, limit=1000) if e["trigger"] == "schedule"
            and e["status"] != "missed"]


def test_a_paused_run_does_not_fire_and_resumes_with_one_record_of_the_gap(api):
    run_id = create(api, schedule="* * * * * *", overlap="allow")
    wait_for(lambda: fired(api, run_id), "a firing")
    answer = api.post(f"/api/scheduled/{run_id}/pause", json={"note": "the model is suspect"})
    assert answer.status_code == 200
    assert set(answer.json()) == {"run_id", "message", "schedule_details"}
    details = answer.json()["schedule_details"]
    assert details["paused_at"] and details["enabled"] is True
    assert details["note"] == "the model is suspect"
    assert details["next_run"] is None and details["next_runs"] == []
    shown = show(api, run_id)
    assert shown["paused_at"] == details["paused_at"] and shown["next_run"] is None

    def moved_on(count):
        moment = datetime.datetime.now(datetime.timezone.utc)
        began = datetime.datetime.fromisoformat(details["paused_at"].replace("Z", "+00:00"))
        return (moment - began).total_seconds() >= count

    wait_for(lambda: moved_on(3.2), "three slots of the pause")
    late = [e for e in fired(api, run_id) if e["scheduled_for"] > details["paused_at"]]
    assert late == []

    answer = api.post(f"/api/scheduled/{run_id}/resume")
    assert answer.status_code == 200
    resumed = answer.json()["schedule_details"]
    assert resumed["paused_at"] is None and resumed["note"] == "the model is suspect"
    assert resumed["next_run"] == resumed["next_runs"][0] and len(resumed["next_runs"]) == 5
    assert resumed["next_run"] > resumed["updated_at"]
    missed = wait_for(lambda: executions(api, run_id, status="missed"), "the record of the pause")
    assert len(missed) == 1
    gap = missed[0]["gap"]
    assert gap["count"] >= 3
    assert missed[0]["error"]["type"] == "Paused"
    assert details["paused_at"] < gap["from"] <= gap["to"] < resumed["updated_at"]
    wait_for(lambda: any(e["scheduled_for"] > resumed["updated_at"] for e in fired(api, run_id)),
             "a firing after the pause")
    api.put(f"/api/scheduled/{run_id}", json={"enabled": False})
    slots = [e["scheduled_for"] for e in fired(api, run_id)]
    assert len(slots) == len(set(slots))
    assert not [slot for slot in slots if gap["from"] <= slot <= gap["to"]]


def test_a_second_pause_only_replaces_the_note(api):
    run_id = create(api)
    first = api.post(f"/api/scheduled/{run_id}/pause").json()["schedule_details"]
    again = api.post(f"/api/scheduled/{run_id}/pause").json()["schedule_details"]
    assert again["paused_at"] == first["paused_at"] and again["note"] is None
    noted = api.post(f"/api/scheduled/{run_id}/pause", json={"note": "n"}).json()["schedule_details"]
    assert noted["paused_at"] == first["paused_at"] and noted["note"] == "n"
    cleared = api.post(f"/api/scheduled/{run_id}/pause", json={"note": None}).json()["schedule_details"]
    assert cleared["note"] is None


def test_only_what_is_enabled_can_be_paused_and_only_what_is_paused_resumed(api):
    disabled = create(api, enabled=False)
    assert "disabled" in error_of(api.post(f"/api/scheduled/{disabled}/pause"), 409, "Conflict")["message"]
    run_id = create(api)
    assert "not paused" in error_of(api.post(f"/api/scheduled/{run_id}/resume"), 409, "Conflict")["message"]
    assert api.get(f"/api/scheduled/{run_id}").headers["ETag"] == '"1"'


def test_disabling_ends_the_pause(api):
    run_id = create(api)
    api.post(f"/api/scheduled/{run_id}/pause")
    details = api.put(f"/api/scheduled/{run_id}", json={"enabled": False}).json()["schedule_details"]
    assert details["paused_at"] is None and details["next_run"] is None
    details = api.put(f"/api/scheduled/{run_id}", json={"enabled": True}).json()["schedule_details"]
    assert details["paused_at"] is None and details["next_run"] is not None


def test_a_change_of_the_schedule_leaves_it_paused(api):
    run_id = create(api)
    paused = api.post(f"/api/scheduled/{run_id}/pause").json()["schedule_details"]
    details = api.put(f"/api/scheduled/{run_id}", json={"schedule": "0 4 * * *"}).json()["schedule_details"]
    assert details["paused_at"] == paused["paused_at"]
    assert details["next_run"] is None and details["next_runs"] == []
    resumed = api.post(f"/api/scheduled/{run_id}/resume", json={"note": "well again"})
    assert resumed.json()["schedule_details"]["next_run"].endswith("T04:00:00.000000Z")
    assert show(api, run_id)["note"] == "well again"


def test_a_pause_survives_a_restart(make_daemon):
    daemon = make_daemon().start()
    key = daemon.create_key("alice")
    with daemon.client(key) as api:
        run_id = create(api, schedule="* * * * * *")
        api.post(f"/api/scheduled/{run_id}/pause", json={"note": "over night"})
        before = show(api, run_id)
    daemon.kill()
    daemon.start()
    with daemon.client(key) as api:
        assert show(api, run_id) == before
        resumed = api.post(f"/api/scheduled/{run_id}/resume").json()["schedule_details"]
        wait_for(lambda: fired(api, run_id), "a firing after the pause")
        assert [e for e in fired(api, run_id) if before["paused_at"] < e["scheduled_for"] < resumed["updated_at"]] == []


@pytest.mark.parametrize("call", ["pause", "resume"])
def test_if_match_guards_a_pause(api, call):
    run_id = create(api)
    if call == "resume":
        api.post(f"/api/scheduled/{run_id}/pause")
    revision = int(api.get(f"/api/scheduled/{run_id}").headers["ETag"].strip('"'))
    before = show(api, run_id)
    error_of(api.post(f"/api/scheduled/{run_id}/{call}", headers={"If-Match": f'"{revision + 1}"'}), 412)
    assert show(api, run_id) == before
    answer = api.post(f"/api/scheduled/{run_id}/{call}", headers={"If-Match": f'"{revision}"'})
    assert answer.status_code == 200 and answer.headers["ETag"] == f'"{revision + 1}"'


@pytest.mark.parametrize("call", ["pause", "resume"])
@pytest.mark.parametrize("body,field", [({"note": 3}, "note"), ({"note": "n" * 1001}, "note"), ({"nota": "n"}, "nota")])
def test_a_bad_note_is_named_and_changes_nothing(api, call, body, field):
    run_id = create(api)
    if call == "resume":
        api.post(f"/api/scheduled/{run_id}/pause")
    before = show(api, run_id)
    error = error_of(api.post(f"/api/scheduled/{run_id}/{call}", json=body), 400, "ValidationError")
    assert error["details"][0]["field"] == field
    assert show(api, run_id) == before


def test_priority_note_and_what_is_not_tried_again_are_kept(api):
    run_id = create(api, priority=9, note="urgent", retry={"non_retryable": ["TimedOut", "WorkerCrashed"]})
    shown = show(api, run_id)
    assert shown["priority"] == 9 and shown["note"] == "urgent" and shown["paused_at"] is None
    assert set(shown["retry"]["non_retryable"]) == {"TimedOut", "WorkerCrashed"}
    api.put(f"/api/scheduled/{run_id}", json={"priority": None, "retry": {"non_retryable": RETRYABLE}})
    shown = show(api, run_id)
    assert shown["priority"] == 5 and shown["note"] == "urgent"
    assert set(shown["retry"]["non_retryable"]) == set(RETRYABLE)
    assert shown["retry"]["max_attempts"] == 1


@pytest.mark.parametrize("fields,field", [
    ({"priority": 10}, "priority"), ({"priority": -1}, "priority"), ({"priority": "5"}, "priority"),
    ({"priority": 5.0}, "priority"), ({"note": 1}, "note"), ({"note": "n" * 1001}, "note"),
    ({"paused_at": None}, "paused_at"), ({"paused_at": "2027-01-01T00:00:00Z"}, "paused_at"),
    ({"retry": {"non_retryable": "TimedOut"}}, "retry.non_retryable"),
    ({"retry": {"non_retryable": [1]}}, "retry.non_retryable"),
    ({"retry": {"non_retryable": ["ModelError"]}}, "retry.non_retryable"),
    ({"retry": {"non_retryable": ["Nonsense"]}}, "retry.non_retryable")])
def test_a_bad_field_is_named(api, fields, field):
    error = error_of(api.post("/api/scheduled", json=run_body(**fields)), 400, "ValidationError")
    assert error["details"][0]["field"] == field
    if field == "retry.non_retryable" and fields["retry"]["non_retryable"] in (["ModelError"], ["Nonsense"]):
        assert all(name in error["message"] for name in RETRYABLE)

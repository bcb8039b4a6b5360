"""Slots fire, once each, through changes, restarts and kills."""

import datetime
import re
import time

import pytest
from conftest import create, executions, wait_for, write_line_model

EVERY_SECOND = "* * * * * *"


def line(**fields):
    body = {"model_name": "line", "schedule": EVERY_SECOND, "parameters": {"data": [[3], [0.5]]}}
    body.update(fields)
    return body


@pytest.fixture(scope="module")
def daemon(make_daemon, own_models):
    return make_daemon(models=own_models).start()


@pytest.fixture
def fresh(make_daemon, own_models):
    """A daemon of one test alone, with a client that survives restarts."""
    daemon = make_daemon(models=own_models).start()
    return daemon, daemon.create_key("alice")


def scheduled(api, run_id, **query):
    return [execution for execution in executions(api, run_id, **query) if execution["trigger"] == "schedule"]


def parse(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def assert_ledger(api, run_id):
    """Every slot between the first and the last has exactly one record, a gap counting for all in it."""
    seconds = []
    for execution in executions(api, run_id, limit=1000):
        if execution["trigger"] in ("manual", "retry"):
            continue
        if execution["status"] == "missed":
            gap = execution["gap"]
            first, last = parse(gap["from"]).timestamp(), parse(gap["to"]).timestamp()
            assert gap["count"] == last - first + 1
            seconds += [first + i for i in range(gap["count"])]
        else:
            seconds.append(parse(execution["scheduled_for"]).timestamp())
    assert sorted(seconds) == [min(seconds) + i for i in range(len(seconds))]


def test_every_second_gives_right_numbers(api):
    run_id = create(api, **line())
    done = wait_for(lambda: [execution for execution in scheduled(api, run_id, status="succeeded")][2:],
                    "three executions") and scheduled(api, run_id, status="succeeded")
    for execution in done:
        assert execution["result"]["outputs"][0]["data"] == [7.0, 2.0]
        assert execution["scheduled_for"].endswith(".000000Z")
        assert execution["attempt"] == 1 and execution["error"] is None
        assert parse(execution["started_at"]) >= parse(execution["scheduled_for"])
    slots = [execution["scheduled_for"] for execution in done]
    assert slots == sorted(set(slots), reverse=True)
    run = api.get(f"/api/scheduled/{run_id}").json()
    assert run["last_run"] is not None and run["next_run"] > slots[0]
    assert_ledger(api, run_id)
    assert api.delete(f"/api/scheduled/{run_id}").status_code == 200


def test_a_disabled_run_rests_until_it_is_enabled(api):
    run_id = create(api, **line(enabled=False))
    witness = create(api, **line())
    wait_for(lambda: len(scheduled(api, witness)) >= 2, "the witness")
    assert executions(api, run_id) == []
    api.put(f"/api/scheduled/{run_id}", json={"enabled": True})
    wait_for(lambda: scheduled(api, run_id, status="succeeded"), "the enabled run")
    api.put(f"/api/scheduled/{run_id}", json={"enabled": False})
    # What was due before the change was committed may still be in the air; then nothing comes any more.
    wait_for(lambda: not executions(api, run_id, status="running"), "what was under way")
    count = len(executions(api, run_id))
    seen = len(scheduled(api, witness))
    wait_for(lambda: len(scheduled(api, witness)) >= seen + 3, "the witness")
    assert len(executions(api, run_id)) <= count + 1
    settled = len(executions(api, run_id))
    wait_for(lambda: len(scheduled(api, witness)) >= seen + 5, "the witness")
    assert len(executions(api, run_id)) == settled
    for each in (run_id, witness):
        api.delete(f"/api/scheduled/{each}")


def test_a_change_takes_effect(api):
    run_id = create(api, **line(schedule="0 0 3 1 1 *"))
    assert executions(api, run_id) == []
    api.put(f"/api/scheduled/{run_id}", json={"schedule": EVERY_SECOND})
    wait_for(lambda: scheduled(api, run_id, status="succeeded"), "the new schedule")
    api.put(f"/api/scheduled/{run_id}", json={"parameters": {"data": [[100]]}})
    wait_for(lambda: scheduled(api, run_id, status="succeeded")[0]["result"]["outputs"][0]["data"] == [201.0],
             "the new parameters")
    assert_ledger(api, run_id)
    api.delete(f"/api/scheduled/{run_id}")


def test_a_trigger_works_beside_the_schedule_and_without(api):
    run_id = create(api, **line(enabled=False))
    execution = api.post(f"/api/scheduled/{run_id}/trigger").json()
    assert execution["status"] == "succeeded" and execution["trigger"] == "manual"
    assert [each["execution_id"] for each in executions(api, run_id)] == [execution["execution_id"]]


def test_a_deleted_run_fires_no_more(api):
    run_id = create(api, **line())
    witness = create(api, **line())
    last = wait_for(lambda: scheduled(api, run_id, status="succeeded"), "a firing")[0]
    assert api.delete(f"/api/scheduled/{run_id}").status_code == 200
    seen = len(scheduled(api, witness))
    wait_for(lambda: len(scheduled(api, witness)) >= seen + 2, "the witness")
    assert api.get(f"/api/scheduled/{run_id}").status_code == 404
    assert api.get(f"/api/executions/{last['execution_id']}").json() == last
    api.delete(f"/api/scheduled/{witness}")


def test_a_one_shot_run_fires_once(api):
    at = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(seconds=3)
    run_id = create(api, **line(schedule=f"@at {at.strftime('%Y-%m-%dT%H:%M:%SZ')}"))
    done = wait_for(lambda: scheduled(api, run_id, status="succeeded"), "the one shot")
    assert [parse(execution["scheduled_for"]) for execution in done] == [at]
    run = wait_for(lambda: (lambda run: run["next_run"] is None and run)(
        api.get(f"/api/scheduled/{run_id}").json()), "no next run")
    assert run["last_run"] is not None


def test_a_restart_keeps_all_and_catches_up(fresh):
    daemon, key = fresh
    with daemon.client(key) as api:
        run_id = create(api, **line(name="kept", catchup="latest"))
        wait_for(lambda: scheduled(api, run_id, status="succeeded"), "a firing")
        before = api.get(f"/api/scheduled/{run_id}").json()
        history = executions(api, run_id, status="succeeded")
    assert daemon.stop() == 0
    down = time.time()
    wait_for(lambda: time.time() > down + 2.5, "downtime")
    daemon.start()
    with daemon.client(key) as api:
        after = api.get(f"/api/scheduled/{run_id}").json()
        assert {name: value for name, value in after.items() if name not in ("last_run", "next_run")} == {
            name: value for name, value in before.items() if name not in ("last_run", "next_run")}
        ids = {execution["execution_id"] for execution in executions(api, run_id)}
        assert {execution["execution_id"] for execution in history} <= ids
        wait_for(lambda: len(scheduled(api, run_id, status="succeeded")) >= len(history) + 2, "new firings")
        api.put(f"/api/scheduled/{run_id}", json={"enabled": False})
        wait_for(lambda: not executions(api, run_id, status="running"), "what was under way")
        assert_ledger(api, run_id)


def test_a_kill_loses_nothing_and_doubles_nothing(fresh):
    daemon, key = fresh
    with daemon.client(key) as api:
        ids = [create(api, **line(overlap="allow")) for _ in range(5)]
    acknowledged = {}
    for _ in range(4):
        with daemon.client(key) as api:
            for run_id in ids:
                wait_for(lambda: scheduled(api, run_id), "a firing")
                execution = api.post(f"/api/scheduled/{run_id}/trigger").json()
                acknowledged[execution["execution_id"]] = execution
            acknowledged[create(api, **line(enabled=False))] = None
            api.post(f"/api/scheduled/{ids[0]}/trigger", headers={"Prefer": "respond-async"})
        daemon.kill()
        daemon.start()
    with daemon.client(key) as api:
        for name, execution in acknowledged.items():
            if execution is None:
                assert api.get(f"/api/scheduled/{name}").status_code == 200
            else:
                assert api.get(f"/api/executions/{name}").json() == execution
        for run_id in ids:
            api.put(f"/api/scheduled/{run_id}", json={"enabled": False})
            wait_for(lambda: not executions(api, run_id, status="running")
                     and not executions(api, run_id, status="queued"), "nothing stuck")
            assert_ledger(api, run_id)


def test_sigterm_lets_what_runs_finish(fresh):
    daemon, key = fresh
    with daemon.client(key) as api:
        ids = [create(api, **line()) for _ in range(20)]
        wait_for(lambda: scheduled(api, ids[-1]), "firings")
    assert daemon.stop() == 0
    log = daemon.new_log()
    assert re.search(r"event=stopped", log)
    daemon.start()
    with daemon.client(key) as api:
        for run in api.get("/api/scheduled").json():
            left = [execution for execution in executions(api, run["run_id"]) if execution["error"]
                    and execution["error"]["type"] == "Interrupted"]
            assert left == []


def test_a_trigger_that_fails_is_recorded_and_not_retried(api, own_models):
    import shutil

    write_line_model(own_models, "vanishes", 1, 1, 1)
    run_id = create(api, **line(model_name="vanishes", schedule="0 0 3 1 1 *",
                                retry={"max_attempts": 0, "backoff": "0s", "max_backoff": "0s"}))
    shutil.rmtree(own_models / "vanishes")
    wait_for(lambda: api.get("/api/models/vanishes").status_code == 404, "the model to go")
    execution = api.post(f"/api/scheduled/{run_id}/trigger").json()
    assert execution["status"] == "failed" and execution["error"]["type"] and execution["error"]["message"]
    assert len(executions(api, run_id)) == 1

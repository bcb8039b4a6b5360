"""Why an instant is a slot, and when a schedule would be due: over the API and on the command line."""
import json
import os
import subprocess

from conftest import BINARY, create, error_of, wait_for


def explain(api, run_id, at):
    answer = api.get(f"/api/scheduled/{run_id}/explain", params={"at": at})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_slot_after_a_gap_is_explained(api):
    run_id = create(api, schedule="30 2 * * *", timezone="Europe/Berlin")
    body = explain(api, run_id, "2027-03-28T03:00:00+02:00")
    assert body["is_slot"] and body["matches_schedule"] and body["within_bounds"]
    assert body["local_time"] == "2027-03-28T03:00:00+02:00"
    assert body["tzdata_version"]
    assert any("02:30" in sentence for sentence in body["explanation"]), body
    assert not explain(api, run_id, "2027-03-28T03:30:00+02:00")["is_slot"]


def test_bounds_jitter_and_pauses_are_explained(api):
    run_id = create(api, schedule="0 * * * *", start_at="2027-02-01T00:00:00Z", jitter="30m", enabled=False)
    before = explain(api, run_id, "2027-01-31T23:00:00Z")
    assert before["matches_schedule"] and not before["within_bounds"] and not before["is_slot"]
    assert before["due_at"] is None
    slot = explain(api, run_id, "2027-02-01T05:00:00Z")
    assert slot["is_slot"] and not slot["enabled"]
    assert "2027-02-01T05:00:00" < slot["due_at"] < "2027-02-01T05:30:00"
    assert any("disabled" in sentence for sentence in slot["explanation"])


def test_what_became_of_a_slot_is_told(api):
    run_id = create(api, schedule="* * * * * *")
    execution = wait_for(lambda: api.get(f"/api/scheduled/{run_id}/executions?status=succeeded").json(), "a firing")[-1]
    api.put(f"/api/scheduled/{run_id}", json={"enabled": False})
    body = explain(api, run_id, execution["scheduled_for"])
    assert body["execution"]["execution_id"] == execution["execution_id"]
    assert any("succeeded" in sentence for sentence in body["explanation"])


def test_bad_questions_are_refused(api, daemon):
    run_id = create(api)
    error_of(api.get(f"/api/scheduled/{run_id}/explain"), 400)
    error_of(api.get(f"/api/scheduled/{run_id}/explain?at=soon"), 400)
    error_of(api.get(f"/api/scheduled/{run_id}/explain?at=2027-01-01T00:00:00Z&x=1"), 400)
    with daemon.client(daemon.create_key("somebody-else")) as other:
        error_of(other.get(f"/api/scheduled/{run_id}/explain?at=2027-01-01T00:00:00Z"), 404)


def test_the_command_prints_the_sentences(api, daemon, key):
    run_id = create(api, schedule="30 2 * * *", timezone="Europe/Berlin")
    environment = {**os.environ, "ORRERY_URL": daemon.url, "ORRERY_API_KEY": key}

    def run(*arguments):
        return subprocess.run([BINARY, "explain", *arguments], env=environment, capture_output=True, text=True,
                              timeout=60)
    told = run(run_id, "--at", "2027-03-28T03:00:00+02:00")
    assert told.returncode == 0 and "a slot" in told.stdout and "02:30" in told.stdout, told
    assert json.loads(run(run_id, "--at", "2027-03-28T03:00:00+02:00", "--json").stdout)["is_slot"]
    unknown = run("no-such-run", "--at", "2027-03-28T03:00:00+02:00")
    assert unknown.returncode == 1 and "404" in unknown.stderr
    assert run(run_id).returncode == 2
    assert run("--help").returncode == 0
    environment["ORRERY_URL"] = "http://127.0.0.1:1"
    nobody = run(run_id, "--at", "2027-03-28T03:00:00+02:00")
    assert nobody.returncode == 1 and "orrery serve" in nobody.stderr


def test_a_preview_has_the_offset_and_the_warning(api):
    body = api.get("/api/schedule/preview", params={"schedule": "30 2 * * *", "timezone": "Europe/Berlin",
                                                    "from": "2027-03-27T00:00:00Z", "n": 2}).json()
    assert body["local_times"] == ["2027-03-27T02:30:00+01:00", "2027-03-28T03:00:00+02:00"]
    assert body["fire_times"][1].startswith("2027-03-28T01:00:00")
    assert any("2027-03-28" in warning for warning in body["warnings"])

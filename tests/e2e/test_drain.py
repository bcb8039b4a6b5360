"""SIGTERM: what is under way ends, what comes is told to go elsewhere, and nobody hangs."""

import concurrent.futures
import signal

import httpx
import pytest

from conftest import LIMIT_S, executions, wait_for, wait_until_busy, write_line_model, write_slow_model

# About two seconds; a slow machine takes longer, which harms nothing.
ROUNDS = 1_000_000
SLOW = {"inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [ROUNDS]}]}


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    write_slow_model(folder, "slow")
    write_line_model(folder, "line", 1, 2, 1)
    return folder


@pytest.fixture
def slow_daemon(make_daemon, models):
    return make_daemon(models, ["--drain-limit", "60s"]).start()


def test_a_prediction_in_flight_is_answered_before_the_end(slow_daemon):
    key = slow_daemon.create_key("alice")
    with slow_daemon.client(key) as api, concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(api.post, "/api/models/slow/predict", json=SLOW)
        wait_until_busy(slow_daemon)
        assert slow_daemon.stop() == 0
        assert answer.result().status_code == 200, answer.result().text
        assert answer.result().json()["outputs"][0]["data"] == [float(ROUNDS)]


def test_a_trigger_in_flight_is_answered_and_on_disk_before_the_end(slow_daemon):
    key = slow_daemon.create_key("alice")
    with slow_daemon.client(key) as api, concurrent.futures.ThreadPoolExecutor() as pool:
        created = api.post("/api/scheduled", json={
            "model_name": "slow", "schedule": "0 3 1 1 *", "parameters": SLOW})
        assert created.status_code == 201, created.text
        run_id = created.json()["run_id"]
        answer = pool.submit(api.post, f"/api/scheduled/{run_id}/trigger")
        wait_until_busy(slow_daemon)
        assert slow_daemon.stop() == 0
        assert answer.result().status_code == 200, answer.result().text
    slow_daemon.start()
    with slow_daemon.client(key) as api:
        assert executions(api, run_id)[0]["status"] == "succeeded"


def test_who_comes_while_it_drains_is_told_to_come_again(slow_daemon):
    key = slow_daemon.create_key("alice")
    with slow_daemon.client(key) as api, concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(api.post, "/api/models/slow/predict", json=SLOW)
        wait_until_busy(slow_daemon)
        slow_daemon.process.send_signal(signal.SIGTERM)

        def refused():
            # A connection of its own each time: it must be answered, not left hanging.
            late = httpx.get(slow_daemon.url + "/api/scheduled", timeout=LIMIT_S,
                             headers={"Authorization": f"Bearer {key}"})
            return late if late.status_code == 503 else None

        late = wait_for(refused, "a refusal")
        assert late.json()["error"] == "ServiceUnavailable"
        assert int(late.headers["Retry-After"]) > 0
        # Who watches it still learns how it is.
        assert httpx.get(slow_daemon.url + "/healthz", timeout=LIMIT_S).status_code == 200
        ready = httpx.get(slow_daemon.url + "/readyz", timeout=LIMIT_S)
        assert ready.status_code == 503 and ready.json()["status"] == "draining"
        assert answer.result().status_code == 200
        assert slow_daemon.process.wait(LIMIT_S) == 0


def test_what_is_longer_than_the_drain_limit_is_handed_back(make_daemon, models):
    daemon = make_daemon(models, ["--drain-limit", "100ms"]).start()
    key = daemon.create_key("alice")
    endless = {"inputs": [{**SLOW["inputs"][0], "data": [2**40]}]}
    with daemon.client(key) as api:
        created = api.post("/api/scheduled", json={
            "model_name": "slow", "schedule": "* * * * * *", "parameters": endless,
            "retry": {"max_attempts": 0}})
        assert created.status_code == 201, created.text
        run_id = created.json()["run_id"]
        first = wait_for(lambda: executions(api, run_id, status="running"), "it to run")[0]
        wait_until_busy(daemon)
        assert daemon.stop() == 0
    daemon.start()
    with daemon.client(key) as api:
        ended = api.get(f"/api/executions/{first['execution_id']}").json()
        assert (ended["status"], ended["error"]["type"]) == ("failed", "Interrupted")
        assert api.delete(f"/api/scheduled/{run_id}").status_code == 200

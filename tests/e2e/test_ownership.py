"""Only the owner, and an admin, sees, changes or triggers a run or reads its executions."""

import uuid

import pytest
from conftest import create, error_of


@pytest.fixture(scope="module")
def mallory(daemon):
    with daemon.client(daemon.create_key("mallory")) as client:
        yield client


@pytest.fixture(scope="module")
def admin(daemon):
    with daemon.client(daemon.create_key("root", admin=True)) as client:
        yield client


CALLS = [("GET", "", None), ("PUT", "", {"name": "mine now"}), ("PUT", "", {"bad": 1}), ("DELETE", "", None),
         ("POST", "/trigger", None), ("GET", "/executions", None)]


def without_id(answer):
    body = error_of(answer, 404, "NotFound")
    del body["correlation_id"]
    return body


@pytest.mark.parametrize("method,suffix,body", CALLS)
def test_another_owners_run_is_like_one_that_is_not_there(api, mallory, method, suffix, body):
    run_id = create(api)
    before = api.get(f"/api/scheduled/{run_id}")
    theirs = mallory.request(method, f"/api/scheduled/{run_id}{suffix}", json=body)
    nobodys = mallory.request(method, f"/api/scheduled/{uuid.uuid4()}{suffix}", json=body)
    assert without_id(theirs) == without_id(nobodys)
    after = api.get(f"/api/scheduled/{run_id}")
    assert after.json() == before.json() and after.headers["ETag"] == before.headers["ETag"]
    assert api.get(f"/api/scheduled/{run_id}/executions").json() == []


def test_another_owners_execution_is_not_there(api, mallory):
    run_id = create(api)
    execution_id = api.post(f"/api/scheduled/{run_id}/trigger").json()["execution_id"]
    assert without_id(mallory.get(f"/api/executions/{execution_id}")) == without_id(
        mallory.get(f"/api/executions/{uuid.uuid4()}"))
    assert api.get(f"/api/executions/{execution_id}").status_code == 200


def test_a_list_shows_ones_own_alone(api, mallory):
    create(api)
    answer = mallory.get("/api/scheduled")
    assert answer.json() == [] and answer.headers["X-Total-Count"] == "0"
    mine = create(mallory)
    assert [run["run_id"] for run in mallory.get("/api/scheduled").json()] == [mine]
    assert mine not in [run["run_id"] for run in api.get("/api/scheduled").json()]


def test_an_admin_sees_and_changes_all(api, admin):
    run_id = create(api)
    assert run_id in [run["run_id"] for run in admin.get("/api/scheduled?limit=1000").json()]
    assert admin.put(f"/api/scheduled/{run_id}", json={"name": "by admin"}).status_code == 200
    assert api.get(f"/api/scheduled/{run_id}").json()["name"] == "by admin"
    execution = admin.post(f"/api/scheduled/{run_id}/trigger").json()
    assert api.get(f"/api/executions/{execution['execution_id']}").json() == execution
    assert admin.delete(f"/api/scheduled/{run_id}").status_code == 200
    error_of(api.get(f"/api/scheduled/{run_id}"), 404)


def test_history_of_a_deleted_run_stays_its_owners(api, mallory):
    run_id = create(api)
    execution_id = api.post(f"/api/scheduled/{run_id}/trigger").json()["execution_id"]
    api.delete(f"/api/scheduled/{run_id}")
    assert api.get(f"/api/executions/{execution_id}").status_code == 200
    error_of(mallory.get(f"/api/executions/{execution_id}"), 404)


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer nonsense"},
    {"Authorization": "Basic YTpi"}, {"X-API-Key": "nonsense"}, {"Authorization": "Bearer " + "x" * 5000}])
def test_without_a_key_there_is_nothing(daemon, headers):
    with daemon.client() as nobody:
        for method, path in [("GET", "/api/scheduled"), ("POST", "/api/scheduled"),
                             ("GET", "/api/scheduled/x"), ("GET", "/api/executions/x"),
                             ("GET", "/api/models"), ("GET", "/api/models/diabetes"),
                             ("POST", "/api/models/diabetes/predict"), ("GET", "/api/schedule/preview")]:
            answer = nobody.request(method, path, headers=headers)
            error_of(answer, 401, "Unauthorized")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_key_may_come_in_either_header(daemon, key):
    with daemon.client() as nobody:
        assert nobody.get("/api/scheduled", headers={"X-API-Key": key}).status_code == 200
        assert nobody.get("/api/scheduled", headers={"Authorization": f"bearer {key}"}).status_code == 200
        almost = key[:-1] + ("A" if key[-1] != "A" else "B")
        error_of(nobody.get("/api/scheduled", headers={"X-API-Key": almost}), 401)

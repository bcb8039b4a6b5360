"""Large bodies and long pages stay within bounds, and parameters are checked as the worker will read them."""

import concurrent.futures
import re

import pytest
from conftest import BINARY, create, error_of, run_body, write_line_model, write_slow_model

PAGE_BYTES = 16 << 20  # of parameters, or results
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def daemon(make_daemon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_line_model(folder, "line", 1, 2, 1)
    write_slow_model(folder, "slow")
    return make_daemon(folder).start()


def rows(count):
    return {"data": [[1]] * count}


def create_large(api, count):
    """The text of large parameters is made by hand: Python's encoder takes longer than the service."""
    body = '{"model_name":"line","schedule":"@yearly","parameters":{"data":[[1]' + ",[1]" * (count - 1) + "]}}"
    answer = api.post("/api/scheduled", content=body, headers=JSON)
    assert answer.status_code == 201
    return ids("run_id", answer)[0]


def ids(name, answer):
    return list(dict.fromkeys(re.findall(f'"{name}":"([^"]*)"', answer.text)))


def resident_kb(daemon, what="VmHWM"):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
        return int(re.search(what + r":\s+(\d+)", status.read()).group(1))


def pages(api, path):
    while path:
        answer = api.get(path)
        assert answer.status_code == 200
        yield answer
        more = re.search(r'<([^>]*)>; rel="next"', answer.headers.get("Link", ""))
        path = more and more.group(1)


def test_a_list_of_large_runs_ends_early_and_goes_on(api):
    made = [create_large(api, 1_500_000) for _ in range(4)]  # 6 MB each
    seen = []
    for answer in pages(api, "/api/scheduled?limit=100"):
        assert len(answer.content) < PAGE_BYTES + (8 << 20)
        assert answer.headers["X-Total-Count"] == "4"
        seen.append(ids("run_id", answer))
    assert [len(page) for page in seen] == [3, 1]
    assert sum(seen, []) == made
    for run_id in made:
        api.delete(f"/api/scheduled/{run_id}")


def test_a_history_of_large_results_ends_early_and_goes_on(api):
    run_id = create_large(api, 1_000_000)
    made = []
    for _ in range(6):
        answer = api.post(f"/api/scheduled/{run_id}/trigger")
        assert '"status":"succeeded"' in answer.text
        made += ids("execution_id", answer)
    seen = []
    for answer in pages(api, f"/api/scheduled/{run_id}/executions?limit=100"):
        assert len(answer.content) < PAGE_BYTES + (8 << 20)
        page = ids("execution_id", answer)
        assert 1 <= len(page) < len(made)
        seen += page
    assert seen == made[::-1]
    api.delete(f"/api/scheduled/{run_id}")


def test_bodies_beyond_the_budget_are_told_to_come_again(daemon, key, api):
    """A dense body takes 256 MB at most while it is read, and so do all of them together."""
    # Not rows, so it is wrong; but that is found when all of it is read.
    body = '{"model_name":"line","schedule":"@yearly","parameters":{"data":[0' + ",0" * 7_000_000 + "]}}"

    def send(_):
        with daemon.client(key) as client:
            return client.post("/api/scheduled", content=body, headers=JSON)

    before = resident_kb(daemon, "VmRSS")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))
    for answer in answers:
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) >= 1
            error_of(answer, 503, "ServiceUnavailable")
        else:
            error_of(answer, 400)
    # Eight at a time: 14 MB each as text, several times while it is received, and within the budget parsed.
    if "asan" not in BINARY:
        assert resident_kb(daemon) < before + (256 + 8 * 64) * 1024
    # And it is well again.
    error_of(send(0), 400)
    assert api.post("/api/scheduled", json=run_body(model_name="line", parameters=rows(1))).status_code == 201


@pytest.mark.parametrize("number", ["1.00000000000000000001", "9223372036854775808", "1e999", "1.5", "-9223372036854775809"])
def test_a_number_that_the_worker_would_refuse_is_refused_at_once(api, number):
    parameters = '{"inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [%s]}]}' % number
    headers = JSON
    body = '{"model_name": "slow", "schedule": "@yearly", "parameters": %s}' % parameters
    error = error_of(api.post("/api/scheduled", content=body, headers=headers), 400, "InvalidParameters")
    assert error["details"][0]["field"] == "parameters"
    error_of(api.post("/api/models/slow/predict", content=parameters, headers=headers), 400, "InvalidParameters")
    run_id = create(api, model_name="slow", parameters={
        "inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [1]}]})
    trigger = '{"parameters": %s}' % parameters
    error_of(api.post(f"/api/scheduled/{run_id}/trigger", content=trigger, headers=headers), 400, "InvalidParameters")
    error_of(api.put(f"/api/scheduled/{run_id}", content=trigger, headers=headers), 400, "InvalidParameters")


@pytest.mark.parametrize("number", ["1.0", "10e-1", "1", "9223372036854775807e0"])
def test_a_number_that_the_worker_takes_is_taken(api, number):
    body = ('{"model_name": "slow", "schedule": "@yearly", "parameters": {"inputs": [{"name": "rounds", "shape": [],'
            ' "datatype": "INT64", "data": [%s]}]}}' % number)
    answer = api.post("/api/scheduled", content=body, headers=JSON)
    assert answer.status_code == 201, answer.text

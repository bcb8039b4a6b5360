"""Large bodies and long pages stay within bounds, and parameters are checked as the worker will read them."""

import concurrent.futures
import re
import subprocess

import pytest
from conftest import (BINARY, LIMIT_S, create, error_of, run_body, wait_for, write_line_model,
                      write_slow_model)

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
    run_id = create_large(api, 220_000)  # 0.9 MB of result each: they are within the store
    made = []
    for _ in range(24):
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
    """A dense body takes 512 MB at most while it is read, and so do all of them together."""
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
        assert resident_kb(daemon) < before + (512 + 8 * 64) * 1024
    # And it is well again.
    error_of(send(0), 400)
    assert api.post("/api/scheduled", json=run_body(model_name="line", parameters=rows(1))).status_code == 201


@pytest.mark.skipif("asan" in BINARY, reason="a sanitizer takes minutes for it")
def test_a_body_as_large_as_may_be_is_taken_however_many_numbers_it_has(api):
    """64 MB of pixels, say: two digits and a comma each."""
    count = 20_000_000
    answer = api.post("/api/scheduled", headers=JSON, timeout=LIMIT_S, content=(
        '{"model_name":"line","schedule":"@yearly","parameters":{"inputs":[{"name":"x","datatype":"FP32",'
        f'"shape":[{count},1],"data":[10' + ",25" * (count - 1) + "]}]}}"))
    assert answer.status_code == 201, answer.text[:300]
    (run_id,) = ids("run_id", answer)
    assert api.delete(f"/api/scheduled/{run_id}").status_code == 200


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


# --- results in files --------------------------------------------------------------------------------

ROWS = 400_000  # 1.6 MB of result


def result_files(daemon):
    return {path.name: path.stat().st_size for path in (daemon.folder / "orrery.db-results").glob("*")}


def expected_result(rows=ROWS):
    return ('{"model_name":"line","model_version":1,"outputs":[{"name":"y","shape":[%d, 1],"datatype":"FP32","data":['
            % rows + ",".join(["3.0"] * rows) + "]}]}")


def trigger_large(api, run_id):
    answer = api.post(f"/api/scheduled/{run_id}/trigger")
    assert answer.status_code == 200 and '"status":"succeeded"' in answer.text[:2000] + answer.text[-2000:]
    return ids("execution_id", answer)[0]


@pytest.fixture
def own(make_daemon, tmp_path):
    """A daemon for the test alone: it is killed, or its history is trimmed."""
    write_line_model(tmp_path / "models", "line", 1, 2, 1)
    daemon = make_daemon(tmp_path / "models", options=["--retention-count", "3"]).start()
    return daemon, daemon.create_key("alice")


def test_a_large_result_is_kept_in_a_file_and_read_as_any_other(own):
    daemon, key = own
    with daemon.client(key) as api:
        run_id = create_large(api, ROWS)
        waited_for = api.post(f"/api/scheduled/{run_id}/trigger")
        execution_id = ids("execution_id", waited_for)[0]
        (size,) = result_files(daemon).values()
        assert size == len(expected_result())
        path = f"/api/executions/{execution_id}"
        answer = api.get(path)
        assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        assert f'"result":{expected_result()},"error":null' in answer.text
        # What was waited for came from memory, and is the same.
        assert waited_for.text == answer.text
        (listed,) = api.get(f"/api/scheduled/{run_id}/executions").json()
        assert listed["result"] is None and listed["result_bytes"] == size and listed["result_url"] == path
        daemon.restart()
    with daemon.client(key) as api:
        assert api.get(path).content == answer.content
        head = api.head(path)
        assert head.status_code == 200 and head.headers["Content-Length"] == answer.headers["Content-Length"]


def test_a_large_result_takes_no_memory_while_it_is_sent(own):
    daemon, key = own
    with daemon.client(key) as api:
        run_id = create_large(api, 4_000_000)  # 16 MB
        path = f"/api/executions/{trigger_large(api, run_id)}"
    daemon.restart()
    with daemon.client(key) as api:
        before = resident_kb(daemon)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            sizes = list(pool.map(lambda _: len(api.get(path).content), range(12)))
        assert min(sizes) == max(sizes) > 16_000_000
        if "asan" not in BINARY:
            assert resident_kb(daemon) < before + 8 * 1024


def test_files_of_results_go_with_the_history(own):
    daemon, key = own
    with daemon.client(key) as api:
        run_id = create_large(api, ROWS)
        for _ in range(8):
            newest = trigger_large(api, run_id)
        create(api, model_name="line", parameters=rows(1))  # a commit that is flushed
        wait_for(lambda: len(result_files(daemon)) <= 4, "the bound")
        kept = api.get(f"/api/scheduled/{run_id}/executions").json()
        assert len(result_files(daemon)) >= len(kept)
        assert kept[0]["execution_id"] == newest
        for execution in kept:
            assert len(api.get(execution["result_url"]).content) > execution["result_bytes"]


def test_what_a_kill_leaves_behind_is_cleared_away(own):
    daemon, key = own
    with daemon.client(key) as api:
        execution_id = trigger_large(api, create_large(api, ROWS))
    daemon.kill()
    folder = daemon.folder / "orrery.db-results"
    (name,) = result_files(daemon)
    (folder / "00000000000000ff.json").write_text("{}")  # written, and never recorded
    (folder / (name + ".part")).write_text("{")
    (folder / "README").write_text("somebody's")
    daemon.start()
    assert set(result_files(daemon)) == {name, "README"}
    with daemon.client(key) as api:
        assert expected_result() in api.get(f"/api/executions/{execution_id}").text


def test_a_backup_has_the_results_and_a_restore_brings_them_back(own, tmp_path):
    daemon, key = own
    backup = tmp_path / "backup.db"

    def orrery(*arguments):
        subprocess.run([BINARY, *map(str, arguments)], check=True, capture_output=True, timeout=LIMIT_S)

    with daemon.client(key) as api:
        run_id = create_large(api, ROWS)
        path = f"/api/executions/{trigger_large(api, run_id)}"
        before = api.get(path).content
        orrery("backup", backup, "--db", daemon.db)
        kept = result_files(daemon)
        for _ in range(6):
            trigger_large(api, run_id)  # retention removes the first
        assert api.get(path).status_code == 404
        later = result_files(daemon)
    assert daemon.stop() == 0
    assert {file.name for file in (tmp_path / "backup.db-results").iterdir()} == set(kept)
    orrery("restore", backup, "--db", daemon.db)
    daemon.start()
    assert result_files(daemon) == kept
    assert {file.name for file in (daemon.folder / "orrery.db.before-restore-results").iterdir()} <= set(later)
    with daemon.client(key) as api:
        assert api.get(path).content == before

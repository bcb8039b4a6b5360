"""What model.json says of ONNX Runtime's session: threads, graph optimisation, execution providers."""

import json
import pathlib

import pytest
from conftest import error_of, wait_for, worker_pids, write_line_model

ROW = {"data": [[2]]}


@pytest.fixture(scope="module")
def daemon(make_daemon, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    write_line_model(models, "line", 1, 2, 1)
    return make_daemon(models, options=["--workers", "1"]).start()


@pytest.fixture(scope="module")
def api(daemon):
    with daemon.client(daemon.create_key("alice")) as client:
        yield client


def configure(daemon, api, reason=None, **settings):
    """Writes the model's model.json and waits until the model is as it says: it loads, or not for this reason."""
    path = daemon.models / "line" / "model.json"
    staging = path.with_suffix(".new")
    staging.write_text(json.dumps(settings))
    staging.rename(path)

    def is_so():
        model = api.get("/api/models/line").json()
        told = str(model.get("reason", "")) + str(model["versions"][0].get("reason", ""))
        return told == "" if reason is None else reason in told and told
    return wait_for(is_so, reason or "the model to load")


def y(api):
    answer = api.post("/api/models/line/predict", json=ROW)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]


def threads(daemon):
    worker, = worker_pids(daemon)
    return len(list(pathlib.Path(f"/proc/{worker}/task").iterdir()))


def test_a_session_has_the_threads_that_it_is_given(daemon, api):
    assert y(api) == [5]
    alone = threads(daemon)
    configure(daemon, api, intra_threads=4)
    wait_for(lambda: y(api) == [5] and threads(daemon) == alone + 3, "three more threads")
    configure(daemon, api, intra_threads=2, inter_threads=3)
    wait_for(lambda: y(api) == [5] and threads(daemon) == alone + 1 + 2, "those of both pools")
    configure(daemon, api)
    wait_for(lambda: y(api) == [5] and threads(daemon) == alone, "one thread again")


@pytest.mark.parametrize("level", ["none", "basic", "extended", "all"])
def test_every_level_of_optimization_gives_the_same(daemon, api, level):
    configure(daemon, api, graph_optimization=level, execution_providers=["CPUExecutionProvider"])
    assert y(api) == [5]


def test_an_execution_provider_that_the_library_lacks_is_refused_with_those_it_has(daemon, api):
    told = configure(daemon, api, "has no execution provider", execution_providers=["MoonExecutionProvider"])
    assert told.startswith("this ONNX Runtime has no execution provider MoonExecutionProvider; it has ")
    assert "CPUExecutionProvider" in told
    error_of(api.post("/api/models/line/predict", json=ROW), 503, "ModelUnavailable")
    configure(daemon, api, execution_providers=["CPUExecutionProvider"])
    assert y(api) == [5]


def test_a_wrong_option_is_named(daemon, api):
    told = configure(daemon, api, "graph_optimization", graph_optimization="most")
    assert told == 'model.json: graph_optimization is not "none", "basic", "extended" or "all"'
    configure(daemon, api)

"""The model repository: what is there, right numbers, a model dropped in while the daemon runs."""

import hashlib
import json
import math

import pytest
from conftest import EXAMPLE_MODELS, ROOT, create, error_of, wait_for, write_line_model

SAMPLES = sorted((ROOT / "examples" / "samples").glob("*.json"))


def flatten(value):
    return [leaf for item in value for leaf in flatten(item)] if isinstance(value, list) else [value]


def assert_equal_outputs(result, expected):
    """Single precision against scikit-learn's double: equal to about six digits."""
    outputs = {output["name"]: output for output in result["outputs"]}
    assert set(expected) <= set(outputs)
    for name, values in expected.items():
        given = outputs[name]["data"]
        assert math.prod(outputs[name]["shape"]) == len(given)
        assert given == pytest.approx(flatten(values), rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_predictions_equal_scikit_learns(api, sample):
    sample = json.loads(sample.read_text())
    path = f"/api/models/{sample['model_name']}/predict"
    answer = api.post(path, json=sample["parameters"])
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert set(result) == {"model_name", "model_version", "outputs"}
    assert result["model_name"] == sample["model_name"] and result["model_version"] == 1
    assert_equal_outputs(result, sample["expected"])
    assert api.post(path, json={"parameters": sample["parameters"]}).json() == result


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_executions_equal_scikit_learns(api, sample):
    sample = json.loads(sample.read_text())
    run_id = create(api, model_name=sample["model_name"], parameters=sample["parameters"])
    execution = api.post(f"/api/scheduled/{run_id}/trigger").json()
    assert execution["status"] == "succeeded", execution
    assert_equal_outputs(execution["result"], sample["expected"])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_the_v2_form_gives_the_same(api, sample):
    sample = json.loads(sample.read_text())
    rows = sample["parameters"]["data"]
    shape = [len(rows), len(rows[0])]
    path = f"/api/models/{sample['model_name']}/predict"
    by_rows = api.post(path, json=sample["parameters"]).json()
    for data in (rows, flatten(rows)):
        answer = api.post(path, json={"inputs": [
            {"name": "features", "shape": shape, "datatype": "FP32", "data": data}]})
        assert answer.json() == by_rows


def test_models_are_listed_with_their_signatures(api):
    models = {model["name"]: model for model in api.get("/api/models").json()}
    assert set(models) == {"breast-cancer", "diabetes", "digits"}
    model = models["diabetes"]
    assert model["backend"] == "onnx" and model["serving_version"] == 1
    assert model["versions"] == [{"version": 1, "loads": True}]
    assert model["signature"]["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 10]}]


def test_a_model_is_shown_with_its_digest(api):
    body = api.get("/api/models/digits").json()
    file = (EXAMPLE_MODELS / "digits" / "1" / "model.onnx").read_bytes()
    assert body["versions"][0]["digest"] == hashlib.sha256(file).hexdigest()
    assert {output["name"] for output in body["versions"][0]["signature"]["outputs"]} == {
        "label", "probabilities"}


@pytest.mark.parametrize("name", ["nobody-knows-it", "..", "%2e%2e%2fetc", "digits%2f1", "x" * 500, "\u00e4"])
def test_an_unknown_model_is_not_there(api, name):
    error_of(api.get(f"/api/models/{name}"), 404, "NotFound")
    error_of(api.post(f"/api/models/{name}/predict", json={"data": [[1]]}), 404, "NotFound")


def test_a_version_may_be_asked_for(api):
    row = {"data": [[0] * 64]}
    assert api.post("/api/models/digits/predict",
                    json={"parameters": row, "model_version": 1}).status_code == 200
    error_of(api.post("/api/models/digits/predict", json={"parameters": row, "model_version": 9}), 400,
             "UnknownModel")
    error_of(api.post("/api/models/digits/predict", json={"parameters": row, "model_version": 0}), 400)


@pytest.fixture(scope="module")
def changing(make_daemon, own_models):
    daemon = make_daemon(models=own_models).start()
    with daemon.client(daemon.create_key("alice")) as client:
        yield client


def y_of(result):
    assert [output["name"] for output in result["outputs"]] == ["y"]
    return result["outputs"][0]["data"]


def test_a_model_dropped_in_is_found_at_once(changing, own_models):
    error_of(changing.post("/api/scheduled", json={
        "model_name": "fresh", "schedule": "@yearly", "parameters": {"data": [[1]]}}), 400, "UnknownModel")
    write_line_model(own_models, "fresh", 1, 3, 0.5)
    answer = changing.post("/api/models/fresh/predict", json={"data": [[1], [2.5]]})
    assert answer.status_code == 200, answer.text
    assert y_of(answer.json()) == [3.5, 8.0]
    assert "fresh" in [model["name"] for model in changing.get("/api/models").json()]


def test_a_model_just_dropped_in_can_be_scheduled(changing, own_models):
    write_line_model(own_models, "fresher", 1, 4, 0)
    run_id = create(changing, model_name="fresher", parameters={"data": [[2]]})
    assert y_of(changing.post(f"/api/scheduled/{run_id}/trigger").json()["result"]) == [8]


@pytest.mark.parametrize("shape", [("n", 1), (1, 1), ("n", 3), ("a", "b"), (2,), ("n",)])
def test_any_shape_of_one_float_input(changing, own_models, shape):
    name = "shape-" + "-".join(str(dimension) for dimension in shape)
    write_line_model(own_models, name, 1, 2, 1, shape)
    given = {"n": 2, "a": 2, "b": 2}
    dimensions = [given.get(dimension, dimension) for dimension in shape]
    count = math.prod(dimensions)
    answer = changing.post(f"/api/models/{name}/predict", json={"inputs": [
        {"name": "x", "shape": dimensions, "datatype": "FP32", "data": [float(i) for i in range(count)]}]})
    assert answer.status_code == 200, answer.text
    assert y_of(answer.json()) == [2.0 * i + 1 for i in range(count)]


def test_the_newest_version_serves_unless_one_is_pinned(changing, own_models):
    write_line_model(own_models, "grows", 1, 1, 0)
    row = {"data": [[10]]}
    free = create(changing, model_name="grows", parameters=row)
    pinned = create(changing, model_name="grows", parameters=row, model_version=1)
    assert y_of(changing.post(f"/api/scheduled/{free}/trigger").json()["result"]) == [10]
    write_line_model(own_models, "grows", 2, 1, 5)
    wait_for(lambda: changing.get("/api/models/grows").json()["serving_version"] == 2, "version 2")
    second = changing.post(f"/api/scheduled/{free}/trigger").json()
    assert y_of(second["result"]) == [15] and second["model_version"] == 2
    first = changing.post(f"/api/scheduled/{pinned}/trigger").json()
    assert y_of(first["result"]) == [10] and first["model_version"] == 1
    assert first["model_digest"] != second["model_digest"]


def test_a_file_that_is_no_model_says_why(changing, own_models):
    place = own_models / "broken" / "1"
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(b"this is no model")
    model = wait_for(lambda: next((model for model in changing.get("/api/models").json()
                                   if model["name"] == "broken" and model["versions"]), None), "the model")
    assert model["versions"][0]["loads"] is False and model["versions"][0]["reason"]
    assert model["serving_version"] is None and model["signature"] is None
    error_of(changing.post("/api/models/broken/predict", json={"data": [[1]]}), 503, "ModelUnavailable")
    body = error_of(changing.post("/api/scheduled", json={
        "model_name": "broken", "schedule": "@daily", "parameters": {"data": [[1]]}}), 400, "UnknownModel")
    assert body["details"][0]["field"] == "model_name"


def test_a_removed_model_is_gone_and_its_runs_fail(changing, own_models):
    import shutil

    write_line_model(own_models, "leaves", 1, 1, 1)
    run_id = create(changing, model_name="leaves", parameters={"data": [[1]]}, retry={"max_attempts": 0})
    shutil.rmtree(own_models / "leaves")
    wait_for(lambda: changing.get("/api/models/leaves").status_code == 404, "the model to go")
    execution = changing.post(f"/api/scheduled/{run_id}/trigger").json()
    assert execution["status"] == "failed" and "leaves" in execution["error"]["message"]
    # What does not touch the model can still be changed.
    assert changing.put(f"/api/scheduled/{run_id}", json={"enabled": False}).status_code == 200

"""orrery as a server of the Open Inference Protocol (REST, version 2), by the published specification."""

import json

import httpx
import pytest
from conftest import ROOT, create, write_line_model, write_model

DIGITS = json.loads((ROOT / "examples" / "samples" / "digits.json").read_text())["parameters"]["data"]


def line_request(*values, **fields):
    return {"inputs": [{"name": "x", "shape": [len(values), 1], "datatype": "FP32", "data": list(values)}], **fields}


def check_infer_response(answer, name, version):
    """The specification's $inference_response."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert set(body) <= {"model_name", "model_version", "id", "parameters", "outputs"}
    assert body["model_name"] == name and body["model_version"] == version
    for output in body["outputs"]:
        assert set(output) == {"name", "shape", "datatype", "data"}
        assert isinstance(output["data"], list)
        assert all(isinstance(size, int) for size in output["shape"])
    return body


def error_of(answer, status):
    """The specification's $inference_error_response: nothing but a sentence."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"} and isinstance(body["error"], str) and body["error"]
    return body["error"]


@pytest.fixture(scope="module")
def daemon(make_daemon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_line_model(folder, "line", 1, 2, 1)
    write_line_model(folder, "line", 2, 3, 1)
    write_constant_model(folder, "constant")
    (folder / "broken" / "1").mkdir(parents=True)
    (folder / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    (folder / "digits").symlink_to(ROOT / "examples" / "models" / "digits")
    return make_daemon(folder).start()


def write_constant_model(folder, name):
    """A model without inputs."""
    from onnx import TensorProto, helper

    value = helper.make_tensor("value", TensorProto.INT64, [2], [6, 7])
    write_model(folder, name, 1, helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=value)], name, [],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2])]))


def test_the_server_describes_itself(api):
    body = api.get("/v2").json()
    assert body["name"] == "orrery" and body["version"] and body["extensions"] == []
    assert set(body) == {"name", "version", "extensions"}
    assert api.get("/v2/").json() == body


def test_health_needs_no_key_and_all_else_does(daemon):
    with httpx.Client(base_url=daemon.url) as nobody:
        live = nobody.get("/v2/health/live")
        assert live.status_code == 200 and live.json()["live"] is True
        ready = nobody.get("/v2/health/ready")
        assert ready.status_code == 200 and ready.json()["ready"] is True
        for path in ("/v2", "/v2/models/line", "/v2/models/line/ready"):
            error_of(nobody.get(path), 401)
        error_of(nobody.post("/v2/models/line/infer", json=line_request(1)), 401)


def test_a_model_is_described(api):
    assert api.get("/v2/models/line").json() == {
        "name": "line", "versions": ["1", "2"], "platform": "onnx_onnxv1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}]}
    assert api.get("/v2/models/line/versions/1").json() == api.get("/v2/models/line").json()


def test_a_model_is_ready_or_not(api):
    assert api.get("/v2/models/line/ready").json() == {"name": "line", "ready": True}
    assert api.get("/v2/models/line/versions/2/ready").json() == {"name": "line", "ready": True}
    broken = api.get("/v2/models/broken/ready")
    assert broken.status_code == 503 and broken.json() == {"name": "broken", "ready": False}
    error_of(api.get("/v2/models/line/versions/3/ready"), 404)


def test_inference_runs_the_newest_version_or_the_one_that_is_named(api):
    body = check_infer_response(api.post("/v2/models/line/infer", json=line_request(1, 2.5)), "line", "2")
    assert body["outputs"] == [{"name": "y", "shape": [2, 1], "datatype": "FP32", "data": [4, 8.5]}]
    assert "id" not in body
    body = check_infer_response(
        api.post("/v2/models/line/versions/1/infer", json=line_request(1, 2.5)), "line", "1")
    assert body["outputs"][0]["data"] == [3, 6]


@pytest.mark.parametrize("request_id", ["42", "", "ü \"quoted\" \\ \n", "0" * 1000])
def test_the_requests_id_comes_back(api, request_id):
    body = check_infer_response(
        api.post("/v2/models/line/infer", json=line_request(1, id=request_id)), "line", "2")
    assert body["id"] == request_id


def test_parameters_may_be_there(api):
    request = line_request(1, parameters={"priority": 1, "nested": {"x": [1]}})
    request["inputs"][0]["parameters"] = {"content_type": "np"}
    check_infer_response(api.post("/v2/models/line/infer", json=request), "line", "2")


def digits_request(*outputs):
    rows = DIGITS[:2]
    return {"inputs": [{"name": "features", "shape": [2, len(rows[0])], "datatype": "FP32", "data": rows}],
            "outputs": [{"name": name, "parameters": {}} for name in outputs]}


@pytest.mark.parametrize("wanted", [["label"], ["probabilities"], ["probabilities", "label"]])
def test_only_the_outputs_that_are_asked_for_come_in_that_order(api, wanted):
    everything = api.post("/v2/models/digits/infer", json=digits_request()).json()["outputs"]
    assert {output["name"] for output in everything} == {"label", "probabilities"}
    body = check_infer_response(
        api.post("/v2/models/digits/infer", json=digits_request(*wanted)), "digits", "1")
    by_name = {output["name"]: output for output in everything}
    assert body["outputs"] == [by_name[name] for name in wanted]


def test_a_scheduled_run_may_ask_for_outputs_likewise(api):
    run_id = create(api, model_name="digits", parameters=digits_request("label"))
    result = api.post(f"/api/scheduled/{run_id}/trigger").json()["result"]
    assert [output["name"] for output in result["outputs"]] == ["label"]


def test_a_model_without_inputs_runs(api):
    body = check_infer_response(api.post("/v2/models/constant/infer", json={"inputs": []}), "constant", "1")
    assert body["outputs"][0]["data"] == [6, 7]


def test_no_content_type_is_json(api):
    answer = api.post("/v2/models/line/infer", content=json.dumps(line_request(1)))
    assert "Content-Type" not in answer.request.headers
    check_infer_response(answer, "line", "2")


@pytest.mark.parametrize("path, status", [
    ("/v2/models/nobody/infer", 404), ("/v2/models/line/versions/9/infer", 404),
    ("/v2/models/line/versions/x/infer", 404), ("/v2/models/line/versions/01/infer", 404),
    ("/v2/models/line/versions/99999999999999999999/infer", 404), ("/v2/models/broken/infer", 503),
    ("/v2/models/line/unload", 404), ("/v2/health/live", 405)])
def test_what_is_not_there_is_an_error_in_the_protocols_form(api, path, status):
    error_of(api.post(path, json=line_request(1)), status)


@pytest.mark.parametrize("change, expected", [
    ({"inputs": None}, "inputs"),
    ({"inputs": [{"name": "z", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}, "'z'"),
    ({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT64", "data": [1]}]}, "INT64"),
    ({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}, "[1, 2]"),
    ({"inputs": [{"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1]}]}, "inputs[0]"),
    ({"outputs": [{"name": "z"}]}, "'z'"),
    ({"outputs": [{}]}, "outputs[0] has no name"),
    ({"outputs": [{"name": "y"}, {"name": "y"}]}, "outputs"),
    ({"outputs": [{"name": "y", "shape": [1]}]}, "shape"),
    ({"outputs": {"name": "y"}}, "outputs"),
    ({"id": 42}, "id"),
    ({"parameters": []}, "parameters"),
    ({"data": [[1]]}, "nothing else"),
    ({"surprise": 1}, "surprise")])
def test_a_bad_request_says_what_is_wrong(api, change, expected):
    sentence = error_of(api.post("/v2/models/line/infer", json={**line_request(1), **change}), 400)
    assert expected in sentence and not sentence.startswith("parameters.")


def test_a_body_that_is_not_json_is_an_error_in_the_protocols_form(api):
    error_of(api.post("/v2/models/line/infer", content="{", headers={"Content-Type": "application/json"}), 400)
    error_of(api.post("/v2/models/line/infer", content="x", headers={"Content-Type": "text/plain"}), 415)


def test_binary_tensors_are_refused_with_the_reason(api):
    answer = api.post("/v2/models/line/infer", content=b"{}\0\0\0\0", headers={
        "Inference-Header-Content-Length": "2", "Content-Type": "application/octet-stream"})
    assert "binary" in error_of(answer, 415)

"""Every operator test of the ONNX project through POST /api/models/{name}/predict of the real daemon.

All models lie in one repository of over a thousand. A case passes where each output has the expected type and
shape and values within the ONNX project's own tolerance (exactly, for whole numbers and strings). What does not is
listed in exceptions.md with its reason and a part of the message; a case that fails otherwise, or passes though it is
listed, fails here.
"""

import dataclasses
import json
import locale
import pathlib
import re
import shutil

import pytest
from cases import DATA, all_cases, difference, to_json

CASES = all_cases()
EXCEPTIONS = pathlib.Path(__file__).with_name("exceptions.md")


@dataclasses.dataclass
class Listed:
    message: str
    may_pass: bool


def has_locale(name):
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_CTYPE, "C")
    return True


def read_exceptions():
    """Under a heading that says why: "- `part of the message`", and below it, indented, the cases. Behind the message
    may stand "(may pass)", or "(unless the system has the locale NAME)"."""
    exceptions = {}
    listed = None
    for line in EXCEPTIONS.read_text("utf-8").splitlines():
        if found := re.fullmatch(r"- `(.+)`(?: \((may pass|unless the system has the locale (\S+))\))?", line):
            message, qualifier, needed_locale = found.groups()
            if needed_locale and has_locale(needed_locale):
                listed = None
            else:
                listed = Listed(message, qualifier == "may pass")
            in_list = True
        elif found := re.fullmatch(r"  - (\S+)", line):
            assert in_list and found.group(1) not in exceptions, line
            exceptions[found.group(1)] = listed
        elif line.startswith("#"):
            in_list = False
    return exceptions


LISTED = read_exceptions()  # None where the exception does not apply to this system


def test_the_suite_is_there_and_every_exception_is_a_case():
    assert len(CASES) > 1000, f"{len(CASES)} models in {DATA}; is libonnx-testdata installed?"
    assert set(LISTED) <= {case.id for case in CASES}


@pytest.fixture(scope="module")
def daemon(make_daemon, tmp_path_factory):
    models = tmp_path_factory.mktemp("operators")
    for case in CASES:
        place = models / case.model_name / "1"
        place.mkdir(parents=True)
        shutil.copyfile(case.folder / "model.onnx", place / "model.onnx")
    return make_daemon(models).start()


@pytest.fixture(scope="module")
def api(daemon):
    with daemon.client(daemon.create_key("suite"), **{"Content-Type": "application/json"}) as client:
        yield client


@pytest.fixture(scope="module")
def models(api):
    return {model["name"]: model for model in api.get("/api/models").json()}


def failure(api, models, case):
    """Why the case does not pass, or None."""
    version = models[case.model_name]["versions"][0]
    if not version["loads"]:
        return "does not load: " + version["reason"]
    data_sets = case.data_sets()
    assert data_sets, case.id
    for data_set in data_sets:
        body = {"inputs": [to_json(*item) for item in case.inputs(data_set)]}
        answer = api.post(f"/api/models/{case.model_name}/predict", content=json.dumps(body))
        if answer.status_code != 200:
            return answer.json()["message"]
        outputs = {output["name"]: output for output in answer.json()["outputs"]}
        for name, expected in case.outputs(data_set):
            found = difference(outputs[name], expected)
            if found:
                return f"output '{name}' is {found}"
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_operator(api, models, case):
    found = failure(api, models, case)
    listed = LISTED.get(case.id)
    if listed is None or (found is None and listed.may_pass):
        assert found is None
    else:
        assert found is not None, "it is listed in exceptions.md, but passes"
        assert listed.message in found

"""Bad input of every kind for every field answers 400 and changes nothing."""

import json

import pytest
from conftest import create, error_of, run_body

# Not of a string's type.
NO_STRINGS = [1, 0, -1.5, True, False, [], ["a"], {}, {"a": 1}]
# Not of a duration's.
NO_DURATIONS = [1, True, [], {}, "", "1", "s", "-1s", "1.5h", "1x", "5 m", "1s1h", "99999999999999999h", "1h "]
NO_TIMES = [1, True, [], {}, "", "tomorrow", "2027-01-01", "2027-13-01T00:00:00Z", "2027-02-30T00:00:00Z",
            "2027-01-01T25:00:00Z", "2027-01-01T00:00:00", "1969-12-31T23:59:59Z", "2300-01-01T00:00:00Z"]
NO_SCHEDULES = ["", " ", "x", "* * * *", "* * * * * * * *", "60 * * * *", "61 * * * *", "* 24 * * *",
                "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5-1 * * * *",
                "-1 * * * *", "1.5 * * * *", "a b c d e", "@never", "@every", "@every 0s", "@every -5s",
                "@every x", "0 0 30 2 *", "* * * * *\n* * * * *", "x" * 1001, "\u0661 * * * *", "5/2 * * * *"]

FIELDS = {
    "model_name": NO_STRINGS + [None, "", "nobody-knows-it", "../diabetes", "diabetes/1", ".", "..",
                                "/etc/passwd", "x" * 129, "diabetes\n", "Diabetes", "d\u00efabetes"],
    "schedule": NO_STRINGS + [None] + NO_SCHEDULES,
    "parameters": [1, "x", True, [], {}, {"data": 1}, {"data": [[1, 2]]},
                   {"data": [["a"] * 10]}, {"data": [[1] * 10, [1] * 9]}, {"data": [[None] * 10]},
                   {"data": [[[1] * 10]]}, {"rows": [[1] * 10]}, {"inputs": []},
                   {"inputs": [{"name": "nope", "shape": [1, 10], "datatype": "FP32", "data": [1] * 10}]},
                   {"inputs": [{"name": "features", "shape": [1, 11], "datatype": "FP32", "data": [1] * 11}]},
                   {"inputs": [{"name": "features", "shape": [1, 10], "datatype": "FP32", "data": [1] * 9}]},
                   {"inputs": [{"name": "features", "shape": [1, 10], "datatype": "WAT", "data": [1] * 10}]},
                   {"inputs": [{"name": "features", "shape": [-1, 10], "datatype": "FP32", "data": []}]}],
    "enabled": [1, 0, "true", "", [], {}, "yes"],
    "timezone": NO_STRINGS + ["", "Mars/Olympus_Mons", "../../etc/passwd", "UTC+25", "Europe/berlin ", "x" * 64,
                              "/etc/localtime", "Europe/", "."],
    "name": NO_STRINGS + ["x" * 201, "\u0000"],
    "description": NO_STRINGS + ["x" * 2001, "a\u0000b"],
    "start_at": NO_TIMES,
    "end_at": NO_TIMES + ["2020-01-01T00:00:00Z"],
    "jitter": NO_DURATIONS + ["25h"],
    "timeout": NO_DURATIONS + ["0s", "25h"],
    "catchup_window": NO_DURATIONS + ["367d"],
    "overlap": NO_STRINGS + ["", "Skip", "none", "skip "],
    "catchup": NO_STRINGS + ["", "Latest", "skip"],
    "dst_missing": NO_STRINGS + ["", "first", "Shift"],
    "dst_repeated": NO_STRINGS + ["", "shift", "twice"],
    "retry": [1, "3", True, [], {"max_attempts": -1}, {"max_attempts": 101}, {"max_attempts": 1.5},
              {"max_attempts": "1"}, {"max_attempts": True}, {"backoff": 1}, {"backoff": "-1s"},
              {"backoff": "x"}, {"backoff": "2h", "max_backoff": "1h"}, {"max_backoff": "x"},
              {"tries": 3}, {"backoff": "1000d"}],
    "model_version": [0, -1, 1.0, 1.5, "1", True, [], {}, 2, 10**30, 2**31],
    "secrets": [None, {}, {"a": "b"}, 1],
    "run_id": ["x", None], "created_at": ["2027-01-01T00:00:00Z"], "updated_at": [None],
    "last_run": [None], "next_run": ["2027-01-01T00:00:00Z"], "next_runs": [[]], "owner": ["root", None],
    "unknown": [None, 1], "Enabled": [True], "model_name ": ["diabetes"],
}
CASES = [(field, value) for field, values in FIELDS.items() for value in values]


def identify(case):
    return f"{case[0]}={json.dumps(case[1])[:40]}"


@pytest.fixture(scope="module")
def path(api):
    """Of one run, which no bad input may change."""
    return "/api/scheduled/" + create(api, name="steady")


@pytest.fixture
def unchanged(api, path):
    """Whatever the test does: the run is as it was, and there is neither a new one nor an execution."""
    def look():
        shown = api.get(path)
        return (shown.json(), shown.headers["ETag"], api.get(path + "/executions").json(),
                api.get("/api/scheduled?limit=1").headers["X-Total-Count"])

    before = look()
    yield
    assert look() == before


@pytest.mark.parametrize("case", CASES, ids=identify)
def test_a_bad_field_is_named_and_changes_nothing(api, path, unchanged, case):
    field, value = case
    for answer in (api.post("/api/scheduled", json=run_body(**{field: value})),
                   api.put(path, json={field: value})):
        body = error_of(answer, 400)
        if "\u0000" in str(value):
            assert "NUL" in body["message"]
        else:
            # The field, or the part of it that is wrong: retry.backoff.
            assert any(detail["field"].split(".")[0] == field for detail in body["details"]), body


@pytest.mark.parametrize("field", ["model_name", "schedule"])
def test_a_required_field_is_missed(api, path, unchanged, field):
    body = run_body()
    del body[field]
    answer = error_of(api.post("/api/scheduled", json=body), 400, "ValidationError")
    assert answer["details"][0]["field"] == field


def test_parameters_are_missed_where_the_model_has_inputs(api, path, unchanged):
    body = run_body()
    del body["parameters"]
    error_of(api.post("/api/scheduled", json=body), 400, "InvalidParameters")
    error_of(api.post("/api/scheduled", json=run_body(parameters=None)), 400, "InvalidParameters")
    error_of(api.put(path, json={"parameters": None}), 400, "InvalidParameters")


@pytest.mark.parametrize("value,kind", [
    ("61 * * * *", "InvalidCronExpression"), ("0 0 30 2 *", "ScheduleNeverFires")])
def test_a_bad_schedule_tells_where(api, value, kind):
    body = error_of(api.post("/api/scheduled", json=run_body(schedule=value)), 400, kind)
    assert body["details"][0]["field"] == "schedule"


def test_the_example_of_the_contract(api):
    body = error_of(api.post("/api/scheduled", json=run_body(schedule="61 * * * *")), 400)
    assert body["message"] == "minute: 61 is out of range 0-59 (column 1)"
    assert body["details"][0]["column"] == 1


def test_all_bad_fields_are_told_at_once(api):
    body = error_of(api.post("/api/scheduled", json={
        "model_name": "nobody-knows-it", "schedule": "61 * * * *", "timezone": "Mars/X", "enabled": 1,
        "timeout": "0s", "colour": "red"}), 400)
    assert {detail["field"] for detail in body["details"]} == {
        "model_name", "schedule", "timezone", "enabled", "timeout", "colour"}
    assert body["message"] == body["details"][0]["message"]
    assert body["error"] == body["details"][0]["error"]


def test_an_unknown_field_is_told_the_nearest(api):
    body = error_of(api.post("/api/scheduled", json=run_body(time_zone="UTC")), 400)
    assert "time_zone" in body["message"] and "timezone" in body["message"].replace("time_zone", "")


@pytest.mark.parametrize("kind,value", [
    ("UnknownModel", {"model_name": "nobody-knows-it"}), ("UnknownModel", {"model_version": 99}),
    ("InvalidTimezone", {"timezone": "Mars/X"}), ("InvalidParameters", {"parameters": {"data": [[1]]}}),
    ("ValidationError", {"enabled": "yes"}),
    ("ScheduleNeverFires", {"end_at": "2020-01-01T00:00:00Z"}),
    ("ScheduleNeverFires", {"schedule": "@at 2020-01-01T00:00:00Z"})])
def test_kinds_of_errors_have_their_names(api, kind, value):
    error_of(api.post("/api/scheduled", json=run_body(**value)), 400, kind)


def test_start_and_end_are_in_order(api, path, unchanged):
    error_of(api.post("/api/scheduled", json=run_body(
        start_at="2030-01-01T00:00:00Z", end_at="2029-01-01T00:00:00Z")), 400)
    error_of(api.put(path, json={"start_at": "2030-01-01T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"}), 400)


BODIES = [
    b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b"}", b"{]", b"{'a': 1}", b'{"a": 1,}', b'{"a" 1}', b"nonsense",
    b'{"schedule": "@daily"} x', b"\xff\xfe", b'{"name": "\xff"}', b'{"name": "\\ud800"}', b'{"name": "a\nb"}',
    b'{"name": "a", "name": "b"}', b'{"retry": {"backoff": "1s", "backoff": "1s"}}', b'{"enabled": NaN}',
    b'{"enabled": tru}', b'{"model_version": 01}', b'{"name": "\\x"}', b"\x00", b'{"name": "a"}\x00',
    b"\xef\xbb\xbf{}x", b'{"parameters": ' + b"[" * 100 + b"]" * 100 + b"}",
    b'{"parameters": ' + b'{"a":' * 100000 + b"1" + b"}" * 100000 + b"}", b'{"parameters": 1e999}',
    b"[" * 1000000, b'{"a":' * 1000000, b'"' + b"a" * 1000000]


@pytest.mark.parametrize("content", BODIES, ids=lambda content: repr(content[:30]))
def test_a_body_that_is_no_json_object_is_malformed(api, path, unchanged, content):
    headers = {"Content-Type": "application/json"}
    error_of(api.post("/api/scheduled", content=content, headers=headers), 400)
    error_of(api.put(path, content=content, headers=headers), 400)
    if content:
        error_of(api.post(path + "/trigger", content=content, headers=headers), 400)
        error_of(api.post("/api/models/diabetes/predict", content=content, headers=headers), 400)


@pytest.mark.parametrize("media_type", [None, "", "text/plain", "application/x-www-form-urlencoded",
                                        "multipart/form-data", "application/jsonx"])
def test_a_body_of_another_type_is_refused(api, path, unchanged, media_type):
    headers = {} if media_type is None else {"Content-Type": media_type}
    content = json.dumps(run_body()).encode()
    error_of(api.post("/api/scheduled", content=content, headers=headers), 415, "UnsupportedMediaType")
    error_of(api.put(path, content=content, headers=headers), 415)


@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8",
                                        "APPLICATION/JSON", "application/vnd.orrery+json"])
def test_json_by_any_name_is_taken(api, media_type):
    answer = api.post("/api/scheduled", content=json.dumps(run_body()).encode(),
                      headers={"Content-Type": media_type})
    assert answer.status_code == 201
    assert api.delete("/api/scheduled/" + answer.json()["run_id"]).status_code == 200


@pytest.mark.parametrize("body", [
    {"parameters": {"data": [[1]]}}, {"parameters": 1}, {"parameters": None}, {"wait": True}, {"model_name": "x"}])
def test_a_bad_trigger_runs_nothing(api, path, unchanged, body):
    error_of(api.post(path + "/trigger", json=body), 400)


@pytest.mark.parametrize("parameters", FIELDS["parameters"], ids=lambda value: json.dumps(value)[:40])
def test_bad_parameters_of_a_prediction_are_named(api, parameters):
    body = error_of(api.post("/api/models/diabetes/predict", json={"parameters": parameters}), 400)
    assert body["error"] == "InvalidParameters"

"""`orrery next`: one time a line on standard output, reasons on standard error, exit statuses; and the
examples of docs/cron.md."""

import re
import shlex
import subprocess

import pytest
from conftest import BINARY, ROOT


def orrery_next(*arguments):
    done = subprocess.run([BINARY, "next", *arguments], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def test_one_time_a_line_with_the_offset_of_the_zone():
    assert orrery_next("30 2 * * *", "--tz", "Europe/Berlin", "--from", "2024-03-29T12:00:00Z", "-n", "4") == (
        0,
        "2024-03-30T02:30:00+01:00\n2024-03-31T03:00:00+02:00\n"
        "2024-04-01T02:30:00+02:00\n2024-04-02T02:30:00+02:00\n",
        "")


def test_utc_and_one_time_by_default():
    status, out, err = orrery_next("* * * * *")
    assert status == 0 and err == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:00\+00:00\n", out)


def test_policies_are_options():
    berlin = ("--tz=Europe/Berlin", "--from=2024-03-30T12:00:00Z")
    assert orrery_next("30 2 * * *", *berlin, "--dst-missing=skip")[1] == "2024-04-01T02:30:00+02:00\n"
    berlin = ("--tz=Europe/Berlin", "--from=2024-10-26T12:00:00Z", "-n", "2")
    assert orrery_next("30 2 * * *", *berlin, "--dst-repeated", "both")[1] == (
        "2024-10-27T02:30:00+02:00\n2024-10-27T02:30:00+01:00\n")


def test_a_bad_expression_is_1_with_the_reason():
    assert orrery_next("61 * * * *") == (
        1, "", "orrery next: minute: 61 is out of range 0-59 (column 1)\n")


def test_an_unknown_zone_is_1_with_the_reason():
    assert orrery_next("* * * * *", "--tz", "Mars/Base") == (
        1, "", "orrery next: unknown time zone 'Mars/Base'\n")


@pytest.mark.parametrize("arguments", [
    ("0 0 30 2 *",), ("@at 2020-01-01T00:00:00", "--from", "2021-01-01T00:00:00Z"),
    ("0 0 0 1 1 * 2020", "--from", "2021-01-01T00:00:00Z"),
])
def test_what_never_fires_is_3(arguments):
    status, out, err = orrery_next(*arguments)
    assert (status, out) == (3, "")
    assert err.startswith("orrery next: never fires: ")


def test_fewer_times_than_asked_for_are_no_error():
    assert orrery_next("0 0 0 1 1 * 2030", "--from", "2024-01-01T00:00:00Z", "-n", "5") == (
        0, "2030-01-01T00:00:00+00:00\n", "")


@pytest.mark.parametrize("arguments", [
    (), ("0", "2", "*", "*", "*"), ("* * * * *", "--bogus"), ("* * * * *", "-n", "0"),
    ("* * * * *", "-n"), ("* * * * *", "--from", "tomorrow"), ("* * * * *", "--dst-missing", "never"),
])
def test_wrong_usage_is_2(arguments):
    status, out, err = orrery_next(*arguments)
    assert (status, out) == (2, "")
    assert "try `orrery next --help`" in err


def test_a_seed_moves_what_is_hashed():
    hours = {orrery_next("H H * * *", "--from", "2024-01-01T00:00:00Z", "--seed", f"run {i}")[1] for i in range(20)}
    assert len(hours) > 10


def test_examples_of_the_manual():
    text = (ROOT / "docs" / "cron.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(\$ orrery next.*?)```", text, re.S).group(1)
    examples = re.findall(r"^\$ orrery (.*?)\n((?:[^$].*\n)*)", block, re.M)
    assert len(examples) == 2
    for command, expected in examples:
        command, _, limit = command.partition(" | head -")
        out = subprocess.run([BINARY, *shlex.split(command)], capture_output=True, text=True, check=True,
                             timeout=60).stdout
        lines = out.splitlines()[:int(limit) if limit else None]
        without_release = [re.sub(r"tzdata \w+", "tzdata", line) for line in lines]
        assert without_release == [re.sub(r"tzdata \w+", "tzdata", line) for line in expected.splitlines()]

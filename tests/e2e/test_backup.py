"""Backups of a daemon at work, and restores: into its store while it runs, and where there is none."""

import os
import re
import signal
import sqlite3
import subprocess
import threading

import pytest
from conftest import BINARY, LIMIT_S, create, executions, run_body, wait_for

EVERY_SECOND = "* * * * * *"


@pytest.fixture(scope="module")
def daemon(make_daemon, own_models):
    return make_daemon(models=own_models)


@pytest.fixture
def fresh(make_daemon, own_models):
    return make_daemon(models=own_models).start()


def orrery(*arguments):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_S)


def backup(daemon, file):
    done = orrery("backup", file, "--db", daemon.db)
    assert done.returncode == 0, done.stderr
    return file


def line(**fields):
    return run_body(**{"model_name": "line", "parameters": {"data": [[3]]}, **fields})


def runs_of(api):
    return {run["run_id"]: run for run in api.get("/api/scheduled", params={"limit": 1000}).json()}


def ended(api, run_id):
    return {execution["execution_id"]: execution for execution in executions(api, run_id, limit=1000)
            if execution["finished_at"] is not None}


def new_address(daemon):
    """The daemon keeps its process and, with port 0, gets another port."""
    found = re.findall(r"event=listening.* address=(\S+)", daemon.new_log())
    return len(found) > 1 and "http://" + found[-1]


def test_a_backup_under_load_brings_back_runs_and_history(fresh, make_daemon, own_models, tmp_path):
    key = fresh.create_key("alice")
    file = tmp_path / "backup.db"
    with fresh.client(key) as api:
        quiet = create(api, **line(schedule="0 3 1 1 *", name="quiet"))
        for _ in range(3):
            answer = api.post(f"/api/scheduled/{quiet}/trigger", headers={"Prefer": "wait=30"})
            assert answer.status_code in (200, 202), answer.text
        wait_for(lambda: len(ended(api, quiet)) == 3, "three executions")
        create(api, **line(schedule=EVERY_SECOND))
        runs_before, history = runs_of(api), ended(api, quiet)
        stop = threading.Event()

        def load():
            with fresh.client(key) as client:
                while not stop.is_set():
                    create(client, **line())

        callers = [threading.Thread(target=load) for _ in range(4)]
        for caller in callers:
            caller.start()
        try:
            backup(fresh, file)
        finally:
            stop.set()
            for caller in callers:
                caller.join()
        runs_after = runs_of(api)
    assert file.stat().st_mode & 0o777 == 0o600

    other = make_daemon(models=own_models)
    restored = orrery("restore", file, "--db", other.db)
    assert restored.returncode == 0, restored.stderr
    assert "before-restore" not in restored.stdout  # there was nothing to keep
    other.start()
    with other.client(key) as api:  # keys come along
        runs = runs_of(api)
        assert set(runs_before) <= set(runs) <= set(runs_after)
        assert runs[quiet] == runs_before[quiet]
        assert ended(api, quiet) == history


def test_a_restore_reaches_a_daemon_that_runs(fresh, tmp_path):
    key = fresh.create_key("alice")
    file = tmp_path / "backup.db"
    with fresh.client(key) as api:
        kept = create(api, **line(schedule=EVERY_SECOND))
        wait_for(lambda: ended(api, kept), "an execution")
        history = ended(api, kept)
        backup(fresh, file)
        lost = create(api, **line())
    process_id = fresh.process.pid
    restored = orrery("restore", file, "--db", fresh.db)
    assert restored.returncode == 0, restored.stderr
    assert str(fresh.db) + ".before-restore" in restored.stdout
    assert fresh.process.poll() is None and fresh.process.pid == process_id
    fresh.url = wait_for(lambda: new_address(fresh), "the new address")
    wait_for(fresh._is_ready, "readiness")
    with fresh.client(key) as api:
        assert api.get(f"/api/scheduled/{lost}").status_code == 404
        assert set(runs_of(api)) == {kept}
        again = ended(api, kept)
        assert {key: again.get(key) for key in history} == history
        # And it goes on firing.
        wait_for(lambda: set(ended(api, kept)) - set(again), "a new execution")
    # What was there before is whole, and has what was lost.
    with sqlite3.connect(f"file:{fresh.db}.before-restore?mode=ro", uri=True) as before:
        assert before.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert (lost,) in before.execute("SELECT id FROM scheduled_runs").fetchall()
    assert not os.path.exists(f"{fresh.db}.restore")
    assert fresh.stop() == 0


@pytest.mark.parametrize("harm, words", [
    ("damaged", "damaged"), ("foreign", "another program"), ("newer", "newer"), ("poem", "not an orrery store"),
    ("missing", "No such file")])
def test_a_bad_backup_is_refused_and_nothing_changes(fresh, tmp_path, harm, words):
    key = fresh.create_key("alice")
    file = tmp_path / "backup.db"
    with fresh.client(key) as api:
        run_id = create(api, **line())
        if harm == "foreign":
            with sqlite3.connect(file) as other:
                other.execute("CREATE TABLE users (name)")
        elif harm == "poem":
            file.write_text("this is not a database, it is a poem\n" * 1000)
        elif harm != "missing":
            backup(fresh, file)
        if harm == "newer":
            with sqlite3.connect(file) as newer:
                newer.execute("PRAGMA user_version = 99")
        elif harm == "damaged":
            with open(file, "r+b") as damaged:
                damaged.seek(8192)
                damaged.write(b"\xa5" * 4096)
        refused = orrery("restore", file, "--db", fresh.db)
        assert refused.returncode == 1
        assert words in refused.stderr and str(file) in refused.stderr
        assert set(runs_of(api)) == {run_id}  # the same daemon, the same store
        assert not [name for name in os.listdir(fresh.folder) if "restore" in name]


def test_a_hang_up_ends_the_daemon_in_good_order(fresh):
    fresh.process.send_signal(signal.SIGHUP)
    assert fresh.process.wait(LIMIT_S) == 0


def test_the_commands_say_what_is_wrong(tmp_path):
    missing = orrery("backup", tmp_path / "backup.db", "--db", tmp_path / "none.db")
    assert missing.returncode == 1 and "there is no store" in missing.stderr and "--db" in missing.stderr
    assert orrery("backup").returncode == 2
    assert orrery("restore").returncode == 2
    assert orrery("restore", "a", "b").returncode == 2
    assert orrery("restore", "a", "--timeout", "soon").returncode == 2
    for command in ("backup", "restore"):
        helped = orrery(command, "--help")
        assert helped.returncode == 0 and "Example:" in helped.stdout

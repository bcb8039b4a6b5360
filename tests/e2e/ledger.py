"""A fleet of runs whose history is held against what must have been due.

The judge knows nothing of the daemon's: a schedule here is a number of seconds that divides a minute, so the slots
of a run are the multiples of its period after its creation. Each of them must be in exactly one record: executed,
skipped, or inside a gap of missed slots whose count is right. Whatever was acknowledged must be there; nothing may
be under way for ever.
"""

import datetime
import json
import pathlib
import threading
import time

import httpx

from conftest import LIMIT_S, wait_for, write_slow_model

# Of the executions of a run, those that stand for a slot: a retry is a further attempt at one that is there.
OF_SLOTS = ("schedule", "catchup")
UNDER_WAY = ("queued", "running")
PAGE = 1000


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def time_text(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def every(period):
    assert 60 % period == 0
    return f"*/{period} * * * * *"


def read_history(api, run_id, since=None):
    """All executions of the run, page by page, newest first."""
    query = {"limit": PAGE}
    if since is not None:
        query["since"] = time_text(since)
    path, found = f"/api/scheduled/{run_id}/executions", []
    while path is not None:
        answer = api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        found += answer.json()
        path, query = answer.links.get("next", {}).get("url"), None
    return found


class Counts:
    """What was found, over the whole life of a fleet."""

    def __init__(self):
        self.slots = self.lost = self.twice = self.stuck = 0
        self.interrupted = 0  # executions that a kill hit
        self.details = []

    def note(self, kind, detail):
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.details) < 20:
            self.details.append(f"{kind}: {detail}")

    def __str__(self):
        return f"lost {self.lost}, twice {self.twice}, stuck {self.stuck}"

    def assert_clean(self):
        assert (self.lost, self.twice, self.stuck) == (0, 0, 0), "\n".join([str(self), *self.details])


class Run:
    def __init__(self, details, period):
        self.run_id = details["run_id"]
        self.name = details["name"]
        self.period = period
        created = int(seconds_of(details["created_at"]))
        self.first = created - created % period + period
        self.verified = self.first - period  # all slots up to here are in the history, once
        self.slow = False
        self.stays = False  # the callers do not delete it

    def verify(self, records, counts, upto, start):
        """Holds the records, all those of slots from `start` on, against the slots that were due. `upto` must have
        been settled; what is newer needs only to be without holes. Returns the newest slot."""
        times = {}
        for record in records:
            if record["trigger"] not in OF_SLOTS:
                continue
            slot, count = seconds_of(record["scheduled_for"]), 1
            if record["status"] == "missed":
                gap = record["gap"]
                assert seconds_of(gap["from"]) == slot
                count = int((seconds_of(gap["to"]) - slot) / self.period) + 1
                if gap["count"] != count:
                    counts.note("lost", f"{self.name}: gap {gap} has {count} slots")
            for i in range(count):
                at = slot + i * self.period
                times[at] = times.get(at, 0) + 1
        newest = max(times, default=start - self.period)
        due = range(start, int(max(newest, upto)) + 1, self.period)
        counts.slots += len(due)
        for slot in due:
            found = times.pop(slot, 0)
            if found == 0:
                counts.note("lost", f"{self.name}: slot {time_text(slot)}")
            elif found > 1:
                counts.note("twice", f"{self.name}: slot {time_text(slot)} {found} times")
        for slot, found in times.items():
            if slot >= start:  # else it is the rest of a gap that was verified before
                counts.note("twice", f"{self.name}: {time_text(slot)} was never due")
        return int(max(newest, upto))


class Fleet:
    """Runs of one owner, changed by callers that do not know when the daemon will be killed."""

    def __init__(self, daemon, key):
        self.daemon = daemon
        self.key = key
        self.counts = Counts()
        self.runs = {}          # by id; alive
        self.deleted = set()    # acknowledged
        self.uncertain = {}     # name: body of a create whose answer never came
        self.deleting = set()   # ids of deletes whose answer never came
        self.acknowledged = {}  # id of an execution: the final answer, or None
        self.lock = threading.Lock()
        self.serial = 0
        self.callers = []
        self.stopping = threading.Event()
        self.triggers = self.creates = self.deletes = self.refused = 0

    def client(self):
        return self.daemon.client(self.key)

    # --- changes

    def create(self, api, period=1, stays=False, **fields):
        with self.lock:
            self.serial += 1
            name = f"{self.serial}/{period}"
            body = {"name": name, "model_name": "line", "schedule": every(period),
                    "parameters": {"data": [[3], [0.5]]}, **fields}
            self.uncertain[name] = body
        answer = api.post("/api/scheduled", json=body)
        if answer.status_code >= 500:
            with self.lock:
                self.refused += 1
                del self.uncertain[name]  # it must not be there; adopt() says so if it is
            return None
        assert answer.status_code == 201, answer.text
        with self.lock:
            del self.uncertain[name]
            run = Run(answer.json()["schedule_details"], period)
            run.slow = body["model_name"] != "line"
            run.stays = stays
            self.runs[run.run_id] = run
            self.creates += 1
        return run

    def delete(self, api, run):
        with self.lock:
            if self.runs.pop(run.run_id, None) is None:
                return
            self.deleting.add(run.run_id)
        answer = api.delete(f"/api/scheduled/{run.run_id}")
        with self.lock:
            if answer.status_code >= 500:
                self.refused += 1
                self.runs[run.run_id] = run
            else:
                assert answer.status_code == 200, answer.text
                self.deleted.add(run.run_id)
                self.deletes += 1
            self.deleting.discard(run.run_id)

    def trigger(self, api, run, waits):
        answer = api.post(f"/api/scheduled/{run.run_id}/trigger",
                          headers={} if waits else {"Prefer": "respond-async"})
        with self.lock:
            if answer.status_code in (200, 202):
                execution = answer.json()
                self.acknowledged[execution["execution_id"]] = execution if waits else None
                self.triggers += 1
            else:
                assert answer.status_code in (404, 500, 503), answer.text
                self.refused += 1

    def control(self, api, run, what):
        """What people do to a run: none of it changes which slots are owed."""
        path = f"/api/scheduled/{run.run_id}"
        if what == "change":
            answer = api.put(path, json={"note": "changed", "priority": self.serial % 10, "timeout": "30s"})
        elif what == "pause":
            answer = api.post(path + "/pause", json={"note": "for a moment"})
            time.sleep(0.05)
            if answer.status_code == 200:
                answer = api.post(path + "/resume")
        elif what == "backfill":
            answer = api.post(path + "/backfills", json={
                "from": time_text(run.first - 120), "to": time_text(run.first - 90), "parallelism": 4})
        else:
            running = api.get(path + "/executions", params={"status": "running", "limit": 1})
            answer = running
            if running.status_code == 200 and running.json():
                answer = api.post(f"/api/executions/{running.json()[0]['execution_id']}/cancel")
        assert answer.status_code in (200, 201, 404, 409, 500, 503), answer.text

    # --- load

    def _call(self, work):
        with self.client() as api:
            while not self.stopping.is_set():
                try:
                    work(api)
                except httpx.TransportError:
                    return  # the daemon was killed; what was under way is uncertain
                time.sleep(0.01)

    def _pick(self, index):
        with self.lock:
            runs = list(self.runs.values())
        return runs[index % len(runs)] if runs else None

    def start_load(self, random, keep):
        """Callers that trigger, create and delete until stop_load; about `keep` runs are kept."""
        self.stopping.clear()

        def trigger(api):
            run = self._pick(random.randrange(1 << 30))
            if run is not None and not run.slow:
                self.trigger(api, run, random.random() < 0.5)

        def change(api):
            self.create(api, random.choice((1, 2, 3)), **vary(random))
            run = self._pick(random.randrange(1 << 30))
            if run is not None and not run.stays and len(self.runs) > keep:
                self.delete(api, run)

        def control(api):
            run = self._pick(random.randrange(1 << 30))
            if run is not None:
                self.control(api, run, random.choice(("change", "change", "pause", "backfill", "cancel")))

        self.callers = [threading.Thread(target=self._call, args=(work,))
                        for work in (trigger, trigger, change, control)]
        for caller in self.callers:
            caller.start()

    def stop_load(self):
        self.stopping.set()
        for caller in self.callers:
            caller.join()
        self.callers = []

    # --- after a restart

    def adopt(self, api):
        """Creates and deletes whose answers never came: each happened as a whole, or not at all."""
        there, path = {}, "/api/scheduled?limit=1000"
        while path is not None:
            answer = api.get(path)
            assert answer.status_code == 200, answer.text
            there.update((run["run_id"], run) for run in answer.json())
            path = answer.links.get("next", {}).get("url")
        for run_id in self.runs:
            if run_id not in there:
                self.counts.note("lost", f"run {run_id}")
        for run_id, run in there.items():
            if run_id in self.deleted:
                self.counts.note("twice", f"run {run_id} was deleted and is there")
            elif run_id not in self.runs:
                body = self.uncertain.get(run["name"])
                if body is None and run_id not in self.deleting:
                    self.counts.note("twice", f"run {run['name']} was refused and is there")
                self.runs[run_id] = Run(run, int(run["name"].split("/")[1]))
                self.runs[run_id].slow = run["model_name"] != "line"
            if run["paused_at"] is not None:  # who paused it was cut off before the end of the pause
                assert api.post(f"/api/scheduled/{run_id}/resume").status_code == 200
        self.uncertain.clear()
        self.deleting.clear()

    def verify(self, api, upto, whole=False):
        """Waits until all slots up to `upto` are settled, then reads the history back and judges it."""
        for run in list(self.runs.values()):
            start = run.first if whole else run.verified + run.period
            last = int(upto) - int(upto) % run.period

            def settled():
                details = api.get(f"/api/scheduled/{run.run_id}").json()
                return "next_run" not in details or details["next_run"] is None or seconds_of(
                    details["next_run"]) > last

            if last < start:
                continue
            if wait_until(settled):
                run.verified = run.verify(read_history(api, run.run_id, start), self.counts, last, start)
            else:
                self.counts.note("stuck", f"{run.name}: a slot before {time_text(last)} is not recorded")

    def verify_nothing_is_left_of(self, api, started):
        """What an earlier process ran has an end: no record says that it is running still."""
        for run in list(self.runs.values()):
            if not run.slow:
                continue

            def left():
                return [execution for execution in api.get(
                    f"/api/scheduled/{run.run_id}/executions", params={"status": "running"}).json()
                    if seconds_of(execution["started_at"]) < started]

            if not wait_until(lambda: not left()):
                self.counts.note("stuck", f"{run.name}: {left()[0]}")

    def finish(self, api):
        """The last word: all slots until now, all that was acknowledged, nothing under way."""
        self.verify(api, time.time() - 1)
        for run in self.runs.values():
            assert api.put(f"/api/scheduled/{run.run_id}", json={"enabled": False}).status_code == 200
        for run in self.runs.values():
            def idle():
                return not any(api.get(f"/api/scheduled/{run.run_id}/executions",
                                       params={"status": status, "limit": 1}).json() for status in UNDER_WAY)

            if not wait_until(idle):
                self.counts.note("stuck", f"{run.name}: {read_history(api, run.run_id)[:1]}")
        self.counts.slots = 0
        for run in self.runs.values():
            history = read_history(api, run.run_id)
            run.verify(history, self.counts, run.verified, run.first)
            self.counts.interrupted += sum(
                record["error"] is not None and record["error"]["type"] == "Interrupted" for record in history)
            attempts = [(record["scheduled_for"], record["trigger"] == "manual", record["attempt"])
                        for record in history if record["trigger"] in (*OF_SLOTS, "retry")]
            if len(attempts) != len(set(attempts)):
                self.counts.note("twice", f"{run.name}: an attempt")
        for execution_id, final in self.acknowledged.items():
            answer = api.get(f"/api/executions/{execution_id}")
            if answer.status_code != 200 or (final is not None and answer.json() != final):
                self.counts.note("lost", f"execution {execution_id}, which was acknowledged: {answer.text}")
            elif answer.json()["finished_at"] is None:
                self.counts.note("stuck", f"execution {execution_id}")


def wait_until(condition, limit_s=LIMIT_S):
    try:
        return wait_for(condition, limit_s=limit_s)
    except AssertionError:
        return False


def vary(random):
    return {"overlap": random.choice(("skip", "queue_one", "queue_all", "cancel_running", "allow")),
            "catchup": random.choice(("latest", "all", "none"))}


def loop_parameters(rounds):
    return {"inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [round(rounds)]}]}


def write_loop_model(models, name="loop"):
    """As slow as its input says. One of it runs at a time, so that it leaves the machine to others."""
    write_slow_model(models, name)
    (pathlib.Path(models) / name / "model.json").write_text(json.dumps({"max_concurrency": 1}))


def rounds_per_second(api, name="loop"):
    """How often the loop goes round in a second, measured."""
    rounds = 1000
    while True:
        start = time.monotonic()
        answer = api.post(f"/api/models/{name}/predict", json=loop_parameters(rounds))
        assert answer.status_code == 200, answer.text
        took = time.monotonic() - start
        if took > 0.2 or rounds >= 1 << 24:
            return rounds / took
        rounds *= 4

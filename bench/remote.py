#!/usr/bin/python3
"""Models on another server, beside that server asked directly, in one run: a bare libmicrohttpd answer on this machine.

  a prediction    POST /api/models/far/predict: one request to us, one from us, no record
  an execution    POST /api/scheduled/{id}/trigger: the same with a durable record of its start and end

usage: bench/remote.py [BUILD_FOLDER]     (build-release; needs wrk)
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from service_under_test import ROOT, Service, cpu_seconds, row, wrk

BUILD = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "build-release")
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
PORT = 18098
ANSWER_BYTES = 64
PARAMETERS = {"rows": [[52, 1, 28.5, 110, 195, 97.2, 60, 3, 5.2417, 85]]}


def write_model(models, concurrency):
    place = models / f"far-{concurrency}"
    place.mkdir(parents=True)
    (place / "model.json").write_text(json.dumps(
        {"backend": "http", "url": f"http://127.0.0.1:{PORT}/", "max_concurrency": concurrency}))
    return place.name


def measure(service, what, path, body, direct):
    before = cpu_seconds([service.process.pid])
    rate = wrk(f"http://{service.address}{path}", SECONDS, service.key, body)
    spent_us = (cpu_seconds([service.process.pid]) - before) / (rate * SECONDS) * 1e6
    row(what, f"{rate:,.0f}/s", f"{rate / direct:.2f} of direct, {spent_us:.0f} us of processor each")


def main():
    with tempfile.TemporaryDirectory(prefix="orrery-bench-") as name:
        folder = pathlib.Path(name)
        models = folder / "models"
        few, many = write_model(models, 1), write_model(models, 64)
        server = subprocess.Popen([BUILD / "bench" / "bare_http", str(PORT), str(ANSWER_BYTES), "2"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        server.stdout.readline()
        try:
            service = Service(BUILD, folder, models)
            direct = wrk(f"http://127.0.0.1:{PORT}/", SECONDS, None, PARAMETERS)
            row("the server itself", f"{direct:,.0f}/s")
            measure(service, "a prediction, 64 at once", f"/api/models/{many}/predict", PARAMETERS, direct)
            measure(service, "a prediction, one at once", f"/api/models/{few}/predict", PARAMETERS, direct)
            run_id = service.create(model_name=many, parameters=PARAMETERS)
            measure(service, "an execution, 64 at once, durable", f"/api/scheduled/{run_id}/trigger", {}, direct)
            service.stop()
        finally:
            server.stdin.close()
            server.wait()


if __name__ == "__main__":
    main()

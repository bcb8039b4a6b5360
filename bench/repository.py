#!/usr/bin/python3
"""A repository of many models: until the daemon is ready, and how long a list call takes.

Three starts with the same models: the first, which loads each of them once; the second, which knows them from the first; and
one after a tenth of the files was replaced. Beside them a start with one model.

usage: bench/repository.py [--build FOLDER] [--model FILE] [COUNT]
"""
import argparse
import http.client
import pathlib
import shutil
import tempfile
import time

from service_under_test import ROOT, Service, row

CALLS = 200


def list_ms(service):
    connection = http.client.HTTPConnection(service.address, timeout=60)
    times = []
    for _ in range(CALLS):
        connection.request("GET", "/api/models", headers={"Authorization": "Bearer " + service.key})
        begin = time.monotonic()
        answer = connection.getresponse()
        body = answer.read()
        times.append((time.monotonic() - begin) * 1000)
        assert answer.status == 200
    connection.close()
    times.sort()
    return f"p50 {times[CALLS // 2]:.1f} ms, p99 {times[CALLS * 99 // 100]:.1f} ms, {len(body):,} bytes"


def measure(what, build, folder, models):
    service = Service(build, folder, models=models)
    row(what, f"{service.ready_s:.2f} s", "list " + list_ms(service))
    service.stop()


def fill(models, file, numbers):
    """Each file is written beside and moved in, so it is another file than before."""
    for number in numbers:
        version = models / f"model-{number:05}" / "1"
        version.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, version / "model.new")
        (version / "model.new").rename(version / "model.onnx")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--build", type=pathlib.Path, default=ROOT / "build-release")
    arguments.add_argument("--model", type=pathlib.Path,
                           default=ROOT / "examples" / "models" / "diabetes" / "1" / "model.onnx")
    arguments.add_argument("count", type=int, nargs="?", default=1000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        one, many = folder / "one", folder / "many"
        fill(one, given.model, range(1))
        fill(many, given.model, range(given.count))
        (folder / "alone").mkdir()
        measure("start with 1 model", given.build, folder / "alone", one)
        measure(f"first start with {given.count:,}", given.build, folder, many)
        measure("second start", given.build, folder, many)
        fill(many, given.model, range(0, given.count, 10))
        measure("start after a tenth was replaced", given.build, folder, many)


main()

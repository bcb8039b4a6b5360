#!/usr/bin/python3
"""What a prediction costs, beside ONNX Runtime alone; and what a large document of parameters costs, beside yyjson
alone and beside a FastAPI application that parses and validates the same. All in one run.

usage: bench/predict.py [BUILD_FOLDER]     (build-release; needs wrk, python3-fastapi and uvicorn)
"""
import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import service_under_test
from service_under_test import BODY, ROOT, Service, children, cpu_seconds, row, wrk

BUILD = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "build-release")
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
MODEL = ROOT / "examples" / "models" / "diabetes" / "1" / "model.onnx"
LIBRARY = ROOT / "deps" / "onnxruntime" / "lib" / "libonnxruntime.so.1"
ROW = b"[52,1,28.5,110,195,97.2,60,3,5.2417,85]"
DOCUMENT_BYTES = 10 << 20
CLIENTS = 16
REPETITIONS = 7

APPLICATION = """
from typing import List

from fastapi import FastAPI
from pydantic import BaseModel


class Parameters(BaseModel):
    data: List[List[float]]


app = FastAPI()


@app.post("/predict")
async def predict(parameters: Parameters):
    return {"rows": len(parameters.data)}
"""


def measure_alone():
    arguments = [BUILD / "bench" / "predict_alone", MODEL]
    if LIBRARY.exists():
        arguments.append(LIBRARY)
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return {name: float(value) for name, value in (line.split() for line in output.splitlines())}


def of_wrk():
    """Processor seconds of all children that have ended: while wrk runs, no other does."""
    times = os.times()
    return times.children_user + times.children_system


def measure_small(service, path, body, alone):
    """Many small predictions: how many a second, and what each takes of a processor in each process."""
    daemon = service.process.pid
    workers = children(daemon)
    service_under_test.CONNECTIONS = CLIENTS
    wrk(f"http://{service.address}{path}", 1, service.key, body)  # the model is loaded, and known to be fast
    before = [cpu_seconds([daemon]), cpu_seconds(workers), of_wrk()]
    rate = wrk(f"http://{service.address}{path}", SECONDS, service.key, body)
    spent = [cpu_seconds([daemon]) - before[0], cpu_seconds(workers) - before[1], of_wrk() - before[2]]
    each = [seconds / (rate * SECONDS) * 1e6 for seconds in spent]
    row(f"POST {path}", f"{rate:,.0f} /s")
    row("  daemon, a call", f"{each[0]:.1f} us", "processor time, the kernel's part of the sockets included")
    row("  workers, a call", f"{each[1]:.1f} us", f"ONNX Runtime alone {alone['bare_us']:.1f} us")
    row("  wrk itself, a call", f"{each[2]:.1f} us")
    row("  processors that 50,000 /s take", f"{sum(each) / 20:.1f}", f"of {os.cpu_count()} that there are")


def measure_one_by_one(service):
    """One client, one prediction at a time: the way there and back."""
    connection = http.client.HTTPConnection(service.address)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = f"POST /api/models/diabetes/predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
    body = b'{"data":[' + ROW + b"]}"
    request = (head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    times = []
    for _ in range(3000):
        start = time.perf_counter()
        connection.sock.sendall(request)
        answer = connection.sock.recv(65536)
        times.append((time.perf_counter() - start) * 1e6)
        assert answer.startswith(b"HTTP/1.1 200")
    connection.close()
    times.sort()
    row("one client: there and back, median", f"{times[len(times) // 2]:.0f} us", f"p99 {times[len(times) * 99 // 100]:.0f} us")


def document(bad_end=False):
    rows = DOCUMENT_BYTES // (len(ROW) + 1)
    return b'{"data":[' + b",".join([ROW] * rows + ([b"[1]"] if bad_end else [])) + b"]}"


def post(address, path, body, key=None):
    """Over a bare socket: Python's own client takes longer than the service."""
    host, port = address.split(":")
    head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n"
    if key is not None:
        head += f"Authorization: Bearer {key}\r\n"
    request = (head + "\r\n").encode() + body
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        start = time.perf_counter()
        connection.sendall(request)
        answer = connection.recv(1 << 20)
        while connection.recv(1 << 20):
            pass
        return int(answer.split()[1]), time.perf_counter() - start


def measure_post(pids, address, path, body, status, key=None):
    """Median seconds of a call, and seconds of processor time of one."""
    times = []
    before = 0
    for number in range(REPETITIONS + 1):
        if number == 1:
            before = cpu_seconds(pids)
        given, seconds = post(address, path, body, key)
        if given != status:
            raise SystemExit(f"{path}: {given}")
        times.append(seconds)
    return statistics.median(times[1:]), (cpu_seconds(pids) - before) / REPETITIONS


def measure_fastapi(folder, body):
    (folder / "application.py").write_text(APPLICATION)
    server = subprocess.Popen([sys.executable, "-m", "uvicorn", "--log-level", "critical", "--port", "18098",
                               "application:app"], cwd=folder)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", 18098)).close()
                break
            except OSError:
                time.sleep(0.05)
        return measure_post([server.pid], "127.0.0.1:18098", "/predict", body, 200)
    finally:
        server.kill()
        server.wait()


def measure_large(service, alone, folder):
    daemon = [service.process.pid]
    good = document()
    yyjson_ms = alone["document_yyjson_us"] / 1e3
    row("read by yyjson alone", f"{yyjson_ms:.0f} ms", f"{len(good) / 1e6:.1f} MB")
    for name in ("parsed", "checked"):
        milliseconds = alone[f"document_{name}_us"] / 1e3
        what = "read as a body" if name == "parsed" else "and checked against the signature"
        row(what, f"{milliseconds:.0f} ms", f"{milliseconds / yyjson_ms:.2f} of yyjson")
    row("copied into shared memory for a worker", f"{alone['document_shared_us'] / 1e3:.1f} ms")
    calls = [
        ("POST, refused for its last row", "/api/models/diabetes/predict", document(True), 400),
        ("POST …/predict, with its answer", "/api/models/diabetes/predict", good, 200),
        ("POST /api/scheduled, durable", "/api/scheduled",
         json.dumps(dict(BODY, parameters=0)).encode().replace(b'"parameters": 0', b'"parameters": ' + good), 201)]
    for what, path, body, status in calls:
        seconds, cpu = measure_post(daemon, service.address, path, body, status, service.key)
        row(what, f"{seconds * 1e3:.0f} ms", f"daemon {cpu * 1e3:.0f} ms of processor time")
    seconds, cpu = measure_fastapi(folder, good)
    row("POST to FastAPI, which parses and validates", f"{seconds * 1e3:.0f} ms", f"{cpu * 1e3:.0f} ms of processor time")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        alone = measure_alone()
        service = Service(BUILD, folder)
        print("one row a call")
        row("ONNX Runtime alone", f"{alone['bare_us']:.1f} us")
        row("what a worker does: JSON, the call, JSON", f"{alone['worker_us']:.1f} us")
        measure_small(service, "/api/models/diabetes/predict", BODY["parameters"], alone)
        values = BODY["parameters"]["data"][0]
        measure_small(service, "/v2/models/diabetes/infer", {"inputs": [
            {"name": "features", "shape": [1, len(values)], "datatype": "FP32", "data": values}]}, alone)
        measure_one_by_one(service)
        print("a document of parameters")
        measure_large(service, alone, folder)
        service.stop()


main()

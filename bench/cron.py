#!/usr/bin/python3
"""orrery's next fire time beside croniter's (Debian's python3-croniter) and croner's (npm), in one run.

    bench/cron.py [BUILD]

BUILD is a release build folder (default build-release). Prints bench_cron's own table, then for each
expression, in UTC and in a zone with daylight saving, nanoseconds per next fire time and the ratios. What is
not installed is left out, and said so; croner is installed into .cache/oracle by tests/oracle/compare, or
here."""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CRONER = os.path.join(ROOT, ".cache", "oracle")
CALLS = 400
BATCH = 20

CRONER_SCRIPT = """
import { Cron } from './node_modules/croner/dist/croner.js';
const { cases, instants, batch } = JSON.parse(process.argv[2]);
const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
for (const [expression, zone] of cases) {
  let cron;
  try { cron = new Cron(expression, { timezone: zone, paused: true }); } catch { console.log('null'); continue; }
  const dates = instants.map((seconds) => new Date(seconds * 1000));
  const figures = [];
  for (let i = 0; i + batch <= dates.length; i += batch) {
    const start = process.hrtime.bigint();
    for (let k = 0; k < batch; k++) cron.nextRun(dates[i + k]);
    figures.push(Number(process.hrtime.bigint() - start) / batch);
  }
  console.log(median(figures));
}
"""


def ours(build):
    output = subprocess.run([os.path.join(build, "bench", "bench_cron")], capture_output=True, text=True,
                            check=True).stdout
    print(output)
    rows = {}
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) == 5 and cells[0] != "expression":
            rows[cells[0], cells[1]] = float(cells[2])
    return rows


def with_croniter(cases, instants):
    try:
        from croniter import croniter
    except ImportError:
        print("croniter is not installed: apt-get install python3-croniter")
        return {}
    figures = {}
    for expression, zone in cases:
        if len(expression.split()) != 5 or any(letter in expression for letter in "LW"):
            continue  # seconds come last in croniter's language; L and W differ or are missing
        starts = [datetime.fromtimestamp(at, ZoneInfo(zone)) for at in instants]
        batches = []
        for i in range(0, len(starts) - BATCH + 1, BATCH):
            iterators = [croniter(expression, start) for start in starts[i:i + BATCH]]
            begin = time.perf_counter_ns()
            for iterator in iterators:
                iterator.get_next(float)
            batches.append((time.perf_counter_ns() - begin) / BATCH)
        figures[expression, zone] = statistics.median(batches)
    return figures


def with_croner(cases, instants):
    try:
        if not os.path.exists(os.path.join(CRONER, "node_modules", "croner")):
            os.makedirs(CRONER, exist_ok=True)
            subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", CRONER, "croner@11.0.1"],
                           check=True)
        script = os.path.join(CRONER, "bench.mjs")
        with open(script, "w", encoding="utf-8") as file:
            file.write(CRONER_SCRIPT)
        question = json.dumps({"cases": cases, "instants": instants, "batch": BATCH})
        lines = subprocess.run(["node", script, question], capture_output=True, text=True, check=True,
                               cwd=CRONER).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"croner is not there: {error}")
        return {}
    return {case: float(line) for case, line in zip(cases, lines) if line != "null"}


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build-release"
    rows = ours(build)
    cases = list(rows)
    generator = random.Random(42)
    instants = [generator.randrange(1577836800, 2840140800) for _ in range(CALLS)]
    croniter = with_croniter(cases, instants)
    croner = with_croner(cases, instants)
    print(f"{'expression':22}{'zone':20}{'orrery ns':>10}{'croniter ns':>13}{'croner ns':>11}{'ratios':>18}")
    for case in cases:
        cells = [figures.get(case) for figures in (croniter, croner)]
        shown = [f"{cell:.0f}" if cell else "-" for cell in cells]
        ratios = " / ".join(f"{cell / rows[case]:.0f}" if cell else "-" for cell in cells)
        print(f"{case[0]:22}{case[1]:20}{rows[case]:10.1f}{shown[0]:>13}{shown[1]:>11}{ratios:>18}")
    for name, figures in (("orrery", rows), ("croniter", croniter), ("croner", croner)):
        if figures:
            print(f"median of all, {name}: {statistics.median(figures.values()):.1f} ns")


if __name__ == "__main__":
    main()

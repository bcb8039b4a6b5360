#!/usr/bin/python3
"""The table of script/coverage, from gcovr's JSON: coverage_table.py JSON AIM FOLDER..."""
import collections
import json
import pathlib
import sys


def branches_of(file):
    """(line number, taken) of each branch of a file."""
    for line in file["lines"]:
        if line.get("gcovr/noncode"):
            continue
        for branch in line["branches"]:
            yield line["line_number"], branch["count"] > 0


def main():
    path, aim, *folders = sys.argv[1:]
    files = {file["file"]: list(branches_of(file)) for file in json.load(open(path))["files"]}
    failed = False
    missed_lines = []
    for folder in folders:
        total = taken = 0
        for name in sorted(files):
            if not name.startswith(f"src/{folder}/") or not files[name]:
                continue
            branches = files[name]
            hit = sum(was_taken for _, was_taken in branches)
            total += len(branches)
            taken += hit
            print(f"  {name:<40} {hit:5} of {len(branches):5}  {100 * hit / len(branches):6.1f} %")
            missed = collections.Counter(number for number, was_taken in branches if not was_taken)
            text = pathlib.Path(name).read_text().splitlines()
            missed_lines += [f"{name}:{number}: {count} of {sum(n == number for n, _ in branches)}: "
                             f"{text[number - 1].strip()}" for number, count in sorted(missed.items())]
        if total == 0:
            sys.exit(f"coverage: src/{folder} has no branches: is the name right?")
        share = 100 * taken / total
        verdict = "" if share >= float(aim) else f"  under {aim} %"
        failed = failed or share < float(aim)
        print(f"{'src/' + folder:<42} {taken:5} of {total:5}  {share:6.1f} %{verdict}\n")
    if missed_lines:
        print("not taken:")
        print("\n".join("  " + line for line in missed_lines))
    sys.exit(1 if failed else 0)


main()

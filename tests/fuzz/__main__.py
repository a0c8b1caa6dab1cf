"""Command line of the fuzzer; `make fuzz` runs it.

PYTHONPATH=.:tests python -m fuzz --count 100000 --seed 1 --out build/fuzz

A run that was interrupted continues if it is started again with the same folder and seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fuzz import report, supervisor, tiny
from fuzz.outcome import Outcome

_BATCH = 1000  # mutants of one worker process


def main() -> int:
    """Run the fuzzer; returns 1 if a mutant failed."""
    arguments = _arguments()
    tiny.install()
    from fuzz import kinds

    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    journal = out / f"outcomes-{arguments.seed}.jsonl"
    outcomes = _read(journal)
    counts = kinds.shares(arguments.count)
    if arguments.kinds:
        counts = {name: arguments.count // len(arguments.kinds) for name in arguments.kinds}
    jobs = _remaining(supervisor.batches(counts, _BATCH), outcomes)
    until = time.monotonic() + arguments.minutes * 60
    with journal.open("a") as lines:
        for outcome in supervisor.run(jobs, str(arguments.seed), arguments.processes, until):
            outcomes.append(outcome)
            print(outcome.to_line(), file=lines, flush=True)
            if outcome.is_fault:
                _keep(out, outcome, arguments.seed)
                print(f"{outcome.kind} {outcome.number}: {outcome.word}\n{outcome.message}")
            _progress(len(outcomes), arguments.count)
    report.write(out / "report.json", arguments.seed, outcomes)
    print(report.table(report.summary(outcomes)))
    print(f"the report is {out / 'report.json'}; the files that failed are in {out / 'faults'}")
    return int(any(outcome.is_fault for outcome in outcomes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="number of mutants")
    parser.add_argument("--seed", type=int, default=1, help="seed of the mutants")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder of the report")
    parser.add_argument("--processes", type=int, default=2, help="worker processes at a time")
    parser.add_argument("--minutes", type=float, default=1e6, help="time from which nothing begins")
    parser.add_argument("--kinds", nargs="*", default=(), help="kinds of files; default: all")
    return parser.parse_args()


def _read(journal: Path) -> list[Outcome]:
    if not journal.exists():
        return []
    lines = journal.read_text().split("\n")[:-1]  # the last line may be cut off
    journal.write_text("".join(line + "\n" for line in lines))
    return [Outcome.from_line(line) for line in lines]


def _remaining(
    jobs: list[list[supervisor.Batch]], outcomes: Iterable[Outcome]
) -> list[list[supervisor.Batch]]:
    """``jobs`` without the mutants that have an outcome."""
    done: defaultdict[str, set[int]] = defaultdict(set)
    for outcome in outcomes:
        done[outcome.kind].add(outcome.number)
    remaining = []
    for job in jobs:
        left: list[supervisor.Batch] = []
        for kind, start, stop in job:
            for number in range(start, stop):
                if number in done[kind]:
                    continue
                if left and left[-1][2] == number:
                    left[-1] = (kind, left[-1][1], number + 1)
                else:
                    left.append((kind, number, number + 1))
        if left:
            remaining.append(left)
    return remaining


def _keep(out: Path, outcome: Outcome, seed: int) -> None:
    """Save the files of a mutant that failed."""
    from fuzz import corpus, kinds, worker

    folder = out / "faults" / f"{outcome.kind}-{outcome.number}-{outcome.word}"
    opened = worker.write(kinds.mutant(outcome.kind, outcome.number, seed), folder)
    (folder / corpus.RECORD).write_text(
        json.dumps({"opened": opened.name, "kind": outcome.kind, "fault": outcome.fault}, indent=1)
    )


def _progress(done: int, count: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:,} of {count:,} mutants", end="", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

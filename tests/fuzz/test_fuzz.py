"""2,000 mutants of all formats, and every file that failed once; `make fuzz` runs 100,000."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

for module in ("openvino", "onnxruntime", "ai_edge_litert", "h5py", "onnx"):
    pytest.importorskip(module, reason="the extra 'export' and h5py: every format is read")

from fuzz import corpus, report, supervisor  # noqa: E402
from fuzz.outcome import Outcome  # noqa: E402

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux's /proc"),
    pytest.mark.slow,
]

#: Mutants of each kind: model files take a child process and up to 0.2 s each.
QUICK, SLOW, COUNTS = 84, 16, 2_000
_SLOW = ("tflite", "onnx", "openvino", "hdf5", "keras", "results")


def counts() -> dict[str, int]:
    from fuzz.kinds import KINDS

    slow = [name for name in KINDS if name.startswith(_SLOW)]
    quick = [name for name in KINDS if name not in slow]
    share, rest = divmod(COUNTS - SLOW * len(slow), len(quick))
    return {
        **dict.fromkeys(slow, SLOW),
        **{name: share + (place < rest) for place, name in enumerate(quick)},
    }


def run(numbers: dict[str, int], seed: str) -> list[Outcome]:
    job = [(kind, 0, number) for kind, number in numbers.items() if number]
    return list(supervisor.run([job], seed, processes=1))


def faults(outcomes: Sequence[Outcome]) -> str:
    return "\n".join(f"{o.kind} {o.number} {o.word}: {o.message}" for o in outcomes if o.is_fault)


def test_mutants_open_or_are_refused() -> None:
    outcomes = run(counts(), "0")
    assert not faults(outcomes)
    rows = report.summary(outcomes)
    assert rows["all"]["mutants"] == COUNTS
    assert len(rows) > 20
    assert all(row["refused"] for row in rows.values()), "a mutator changes nothing"
    assert rows["all"]["opens"] > COUNTS / 10, "mutants are refused before they are read"


def test_files_that_failed_once() -> None:
    from fuzz.kinds import KINDS

    outcomes = run({kind: len(corpus.entries(kind)) for kind in KINDS}, "corpus")
    assert not faults(outcomes)
    names = [corpus.entries(outcome.kind)[outcome.number] for outcome in outcomes]
    assert {each.name: each.outcome for each in names} == {
        entry.name: outcome.word for entry, outcome in zip(names, outcomes, strict=True)
    }
    assert {each.name for each in names} == set(corpus.expected())

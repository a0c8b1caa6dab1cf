"""Words of the field: names and docstrings that must not come back (docs/glossary.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support import ROOT

FOLDERS = ("edge_effnet", "calibration", "converters", "benchmarks", "apps")
#: Whole names of functions, classes, arguments and locals; each says nothing about its value.
NAMES = {
    *("found", "made", "said", "told", "those", "seen", "some", "own", "what", "such", "given"),
    *("kept", "whole", "verdict", "tally", "tallies", "answers", "figures", "reasons", "wording"),
    *("oddities", "liveliness", "knob", "ladder", "peers", "pieces", "costs", "prices", "placed"),
    *(
        "grid",
        "grids",
        "sites",
        "refit",
        "levelled",
        "observe",
        "heard",
        "weighed",
        "spare",
        "ties",
    ),
    *("Problem", "Solution", "Sums", "Walk", "Tally", "Part", "How", "Placed", "Answer", "Figures"),
}
#: Names that a file format, a command or another library fixes.
ALLOWED = {("edge_effnet/card.py", "given")}
#: Where an answer is a term of its own: predictions smoothed over frames, or "unsure" (glossary).
ANSWERS = ("edge_effnet/answers.py", "edge_effnet/commands/camera.py", "apps/camera/", "apps/web/")
#: Words of docstrings, each a pattern, with the term that stands for it.
WORDS = {
    r"\bgrids?\b(?! search)": "quantization parameters",
    r"\bsites?\b of a (layer|convolution)": "sample positions",
    r"\b(agreement|acceptance) gate\b": "fidelity check",
    r"\bverdicts?\b": "summary",
    r"\bfigures\b": "values",
    r"\btall(y|ies)\b": "counts",
    r"\banswers?\b": "predictions",
    r"\bspare channels?\b": "dead-channel reuse",
    r"\b(taken|brought) back\b": "bias correction",
    r"\bwhat (\w+ ){1,2}(makes?|says?|gives?|takes?) of\b": "a noun",
    r"\bthat which\b": "a noun",
    r"\bhow it went\b": "outcome",
}
LONGEST = 40  # words of one sentence


@cache
def trees() -> dict[str, ast.Module]:
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    names = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {name: ast.parse(path.read_text("utf-8")) for name, path in names.items()}


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a module defines, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno


def docstrings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every docstring, with the line of what it describes."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and (
            text := ast.get_docstring(node)
        ):
            yield text, getattr(node, "lineno", 1)


def name_faults(name: str, tree: ast.AST) -> list[str]:
    return [
        f"{name}:{line}: {bound}"
        for bound, line in bound_names(tree)
        if bound.strip("_") in NAMES
        and (name, bound) not in ALLOWED
        and not (bound.strip("_").lower().startswith("answer") and name.startswith(ANSWERS))
    ]


def word_faults(name: str, tree: ast.AST) -> list[str]:
    return [
        f"{name}:{line}: {match[0]!r}, say {term!r}"
        for text, line in docstrings(tree)
        for pattern, term in WORDS.items()
        for match in re.finditer(pattern, re.sub(r"`+[^`]*`+", "", text), re.IGNORECASE)
        if not (match[0].lower().startswith("answer") and name.startswith(ANSWERS))
    ]


def test_names_say_what_they_hold() -> None:
    assert not [fault for name, tree in trees().items() for fault in name_faults(name, tree)]


def test_docstrings_use_the_terms_of_the_field() -> None:
    assert not [fault for name, tree in trees().items() for fault in word_faults(name, tree)]


def test_summaries_are_short() -> None:
    long = [
        f"{name}:{line}: {summary}"
        for name, tree in trees().items()
        for text, line in docstrings(tree)
        if len((summary := text.partition("\n")[0]).split()) > LONGEST
    ]
    assert not long


@pytest.mark.parametrize(
    ("source", "names", "words"),
    [
        ("def found(own): kept = 1", 3, 0),
        ('"""The grid of a tensor."""', 0, 1),
        ('"""A grid search over ``grid``."""', 0, 0),
        ('def f():\n    """What a gate makes of it; the gate of squeeze-excite."""', 0, 1),
        ("class Tally: pass", 1, 0),
        ('"""The answers to a photo."""\nanswers = 1', 1, 1),
    ],
)
def test_the_checks_can_fail(source: str, names: int, words: int) -> None:
    tree = ast.parse(source)
    assert len(name_faults("a.py", tree)) == names
    assert len(word_faults("a.py", tree)) == words


def test_every_folder_is_read() -> None:
    assert {Path(name).parts[0] for name in trees()} == set(FOLDERS)

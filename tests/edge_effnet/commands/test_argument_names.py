"""Hints in Python's notation, written with the options of the command line."""

from __future__ import annotations

from importlib import import_module

import click
import pytest

from edge_effnet.commands import COMMANDS
from edge_effnet.commands.argument_names import OPTIONS, in_options
from support.command import call, refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("give weights=FILE", "give --weights FILE"),
        ("give formats=['tflite', 'onnx'], or", "give --formats tflite,onnx, or"),
        ("say mean=(123.675, 116.28, 103.53).", "say --mean 123.675,116.28,103.53."),
        ("mean=127.5, std=127.5", "--mean 127.5, --std 127.5"),
        ("say device_options={'a': 'b', 'c': 1}", "say --device-option a=b --device-option c=1"),
        ("marked, with force=True", "marked, with --force"),
        ("with avx2_safe=False", "with --no-avx2"),
        ("try recipe='best', omit per_tensor= and io=", "try --recipe best, omit --per-tensor "
         "and --io"),
        ("add int8 to precisions=", "add int8 to --precisions"),
        ("say preprocess=Preprocess(...)", "say --resolution, --mean and --std"),
        ("runs/lr=0.1/classes=5.pth is broken", "runs/lr=0.1/classes=5.pth is broken"),
    ],
)  # fmt: skip
def test_arguments_become_options(text: str, expected: str) -> None:
    assert in_options(text) == expected


def test_every_option_exists() -> None:
    options: set[str] = set()
    todo = [
        getattr(import_module(f"edge_effnet.commands.{module}"), name)
        for module, name in COMMANDS.values()
    ]
    while todo:
        command = todo.pop()
        options |= {text for each in command.params for text in (*each.opts, *each.secondary_opts)}
        if isinstance(command, click.Group):
            todo += command.commands.values()
    assert set(OPTIONS.values()) <= options
    assert {"--no-avx2", "--resolution"} <= options


def test_errors_and_notes_show_options() -> None:
    options = ("--weights", "random", "--precisions", "dynamic", "--formats", "onnx")
    assert refused(call("export", "lite0", *options)) == (
        "dynamic files are TFLite only; add tflite to --formats"
    )

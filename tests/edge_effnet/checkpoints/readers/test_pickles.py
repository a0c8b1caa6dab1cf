"""Hostile pickles: nothing runs, nothing is set, and bombs cost neither time nor memory."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_effnet.checkpoints.readers import pickles
from edge_effnet.checkpoints.readers.values import DType
from support.checkpoint_writer import Code, emit, name, pickled, refusal
from support.waiting import until

# Instructions


class Touch:
    """Pickles to a call that would create the file."""

    def __init__(self, function: Callable[..., Any], argument: Any) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", ["system", "eval", "exec", "touch", "popen"])
def test_hostile_pickles_do_not_run(writer, read, tmp_path, kind, protocol):
    trap = tmp_path / "trap"
    function, argument, shown = {
        "system": (os.system, f"touch {trap}", f"{os.name}.system"),
        "eval": (builtins.eval, f"open({str(trap)!r}, 'w')", "builtins.eval"),
        "exec": (builtins.exec, f"open({str(trap)!r}, 'w')", "builtins.exec"),
        "touch": (Path.touch, trap, None),  # a stand-in: read, and not run
        "popen": (subprocess.Popen, ["touch", str(trap)], ".Popen"),
    }[kind]
    evil = Touch(function, argument)
    tree = {"w": writer.tensor(np.ones(2, "f4")), "evil": pickled(evil, protocol)}
    if shown is None:
        assert list(read(writer.bytes(tree))) == ["w"]
    else:
        assert shown in refusal(read, writer.bytes(tree))
    assert not trap.exists()
    pickle.loads(pickle.dumps(evil, protocol))  # the trap itself does work
    until("the file of the test's own trap", trap.exists)


def test_functions_that_a_pickle_can_name_are_our_own():
    for value in pickles._GLOBALS.values():
        if callable(value):
            assert value.__module__ == pickles.__name__
        else:
            assert isinstance(value, DType)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"(cargparse\nNamespace\no", id="OBJ"),
        pytest.param(b"(iargparse\nNamespace\n", id="INST"),
        pytest.param(b"\x82\x01", id="EXT1"),
        pytest.param(b"\x97", id="NEXT_BUFFER"),
        pytest.param(b"P0\n", id="PERSID"),
        pytest.param(b"X\x01\x00\x00\x00a)R", id="calls a text"),
        pytest.param(b"})R", id="calls a dict"),
        pytest.param(b"ctorch\nfloat32\n)R", id="calls a dtype"),
        pytest.param(b"ctorch\nFloatStorage\nK\x05\x85R", id="makes a storage"),
        pytest.param(b"ccollections\nOrderedDict\nK\x05R", id="arguments not a tuple"),
        pytest.param(b"X\x01\x00\x00\x00aK\x01a", id="appends to a text"),
        pytest.param(b"]K\x01K\x01s", id="sets an item of a list"),
        pytest.param(b"K\x01Q", id="storage reference not a tuple"),
        pytest.param(b"0" * 9, id="POP"),
        pytest.param(b"t", id="no mark"),
        pytest.param(b"h\x09", id="no memo"),
    ],
)
def test_odd_instructions_are_refused(writer, read, code):
    refusal(read, writer.bytes({"w": writer.tensor(np.ones(2, "f4")), "x": Code(code)}))


def test_attributes_are_never_set(writer, read):
    state = emit(
        {"__class__": 1, "__setstate__": name("torch", "device"), "read": 1, "__dict__": {}}
    )
    targets = [
        name("argparse", "Namespace").code + b")\x81",
        name("collections", "OrderedDict").code + b")R",
        name("collections", "OrderedDict").code,
        name("torch._utils", "_rebuild_tensor_v2").code,
        emit(writer.tensor(np.ones(2, "f4"))),
    ]
    before = {key: dict(vars(value)) for key, value in pickles._GLOBALS.items() if callable(value)}
    tree = {str(n): Code(target + state + b"b") for n, target in enumerate(targets)}
    assert list(read(writer.bytes(tree))) == ["4"]
    after = {key: dict(vars(value)) for key, value in pickles._GLOBALS.items() if callable(value)}
    assert before == after


# Bombs


def _laughs(levels: int) -> bytes:
    """Emit a tuple of two of a tuple of two of ...: 2 ** levels leaves, linear in the file."""
    return b")" + b"q\x00h\x00\x86" * levels


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"}" + _laughs(200) + b"Ns", id="exponential hash as a key"),
        pytest.param(b"})" + b"\x85" * 300_000 + b"Ns", id="deep hash as a key"),
        pytest.param(_laughs(500), id="billion laughs"),
        pytest.param(b"]q\x00h\x00a", id="list in itself"),
        pytest.param(b"]" * 200_000 + b"a" * 199_999, id="deep lists"),
        pytest.param(b"\x8f(" + _laughs(200) + b"\x90", id="exponential hash in a set"),
        pytest.param(b"Nr\xff\xff\xff\x7f", id="huge memo"),
    ],
)
def test_bombs_beside_the_weights_cost_nothing(writer, read, code):
    started = time.process_time()
    tree = {"w": writer.tensor(np.ones(2, "f4")), "bomb": Code(code)}
    assert list(read(writer.bytes(tree))) == ["w"]
    assert time.process_time() - started < 10


def test_a_dict_in_itself(writer, read):
    wrappers = b"".join(emit(key) + b"h\x00s" for key in ("ema", "model", "state_dict", "net"))
    refusal(read, writer.bytes(Code(b"}q\x00" + wrappers)))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"\x8b\xff\xff\xff\x7f", id="LONG4"),
        pytest.param(b"\x8d" + b"\xff" * 7 + b"\x7f", id="BINUNICODE8"),
        pytest.param(b"\x96" + b"\xff" * 7 + b"\x7f", id="BYTEARRAY8"),
        pytest.param(b"B\xff\xff\xff\xff", id="BINBYTES"),
        pytest.param(b"\x8e\x00\x00\x00\x00\x01\x00\x00\x00", id="BINBYTES8"),
        pytest.param(b"N" * 3_000_000, id="many steps"),
    ],
)
def test_huge_counts_are_refused(writer, read, code):
    refusal(read, writer.bytes({"x": Code(code)}))


# Views


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (5,), (1,)),
        (4, (1,), (1,)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (-1,), (1,)),
        (0, (2, 2), (1,)),
        (0, (1 << 39, 1 << 39), (1, 1)),
        (0, (1 << 90,), (1,)),
        (1 << 39, (1,), (1,)),
        (0, (2,), (1 << 39,)),
        (0, (1,) * 40, (1,) * 40),
        (0, (1 << 30,), (0,)),
        (True, (1,), (1,)),
    ],
)
def test_views_stay_inside_their_storage(writer, read, offset, shape, stride):
    storage = writer.storage(np.arange(4, dtype="f4"))
    refusal(read, writer.bytes({"w": writer.view(storage, offset, shape, stride)}))


def test_many_expanded_views_share_one_bound(writer, read):
    storage = writer.storage(np.arange(4, dtype="f2"))
    tree = {str(n): writer.view(storage, 0, (1 << 20,), (0,)) for n in range(64)}
    assert "repeat" in refusal(read, writer.bytes(tree))

"""Mutators of HDF5 files: links, attributes and arrays by h5py, and words near signatures."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fuzz.mutators import EXTREMES, mutated, raw

_SIGNATURES = re.compile(rb"TREE|HEAP|SNOD|GCOL|OHDR|OCHK|BTHD|FRHP|\x89HDF")


def structure_word(data: bytes, dice: random.Random) -> bytes:
    """A number of a tree, heap or header: the next node, a size, an address, a count."""
    start = dice.choice(list(_SIGNATURES.finditer(data))).start()
    width = dice.choice((1, 2, 4, 8, 8))
    place = start + dice.randrange(4, 80)
    other = dice.choice(list(_SIGNATURES.finditer(data))).start()
    value = dice.choice((*EXTREMES, start, other, other, len(data))) % 256**width
    return data[:place] + value.to_bytes(width, "little") + data[place + width :]


def link(data: bytes, dice: random.Random) -> bytes:
    """A hard link to a group above, or a soft or external one."""
    with _open(data) as (file, h5py, result):
        groups = [each for each in _objects(file) if isinstance(each, h5py.Group)]
        group, target = dice.choice(groups), dice.choice([*_objects(file), file])
        name = dice.choice(("layers", "0", "vars", "functional", f"functional_{dice.randrange(9)}"))
        if name in group:
            del group[name]
        other = (target, h5py.SoftLink("/layers"), h5py.ExternalLink("/etc/hostname", "/"))
        group[name] = dice.choice((target, target, *other))
    return result.getvalue()


def array(data: bytes, dice: random.Random) -> bytes:
    """An array of another shape, type, layout or compression."""
    with _open(data) as (file, h5py, result):
        chosen = dice.choice([each for each in _objects(file) if isinstance(each, h5py.Dataset)])
        parent, name, shape = chosen.parent, chosen.name.rpartition("/")[2], chosen.shape
        del parent[name]
        match dice.randrange(7):
            case 0:
                parent.create_dataset(
                    name, (dice.choice((0, 1 << 20, 1 << 28, 1 << 40)),), "f4", chunks=True
                )
            case 1:
                parent.create_dataset(
                    name, shape or (1,), dice.choice(("i4", "f8", "f2", "S9", "c8", "?"))
                )
            case 2:
                parent.create_dataset(name, data=h5py.Empty("f4"))
            case 3:
                kind = h5py.string_dtype() if dice.random() < 0.5 else h5py.vlen_dtype("f4")
                parent.create_dataset(name, (dice.choice((1, 1 << 16)),), kind)
            case 4:
                sides = [dice.choice((1, 2, 3, 8, 0)) for _ in range(dice.randrange(7))]
                parent.create_dataset(name, sides, "f4")
            case 5:
                parent.create_dataset(
                    name, (1 << 22,), "f4", compression="gzip", fillvalue=1.0, chunks=(1 << 20,)
                )[:] = 0
            case _:
                parent.create_group(name)
    return result.getvalue()


def attribute(data: bytes, dice: random.Random) -> bytes:
    """A name list, config or other attribute of another value."""
    with _open(data) as (file, h5py, result):
        holders = [each for each in [*_objects(file), file] if len(each.attrs)]
        holder = dice.choice(holders)
        key = dice.choice(sorted(holder.attrs))
        values: tuple[Any, ...] = (
            1, -1.5, "", "x" * 3000, [b"a", b"b"], [b"../x"], b"\xff", [1, 2], h5py.Empty("f4"),
            "[" * 3000,
            ["conv2d"] * 500, "{}", "null", [[b"a"]],
        )  # fmt: skip
        holder.attrs[key] = dice.choice(values)
    return result.getvalue()


def rename(data: bytes, dice: random.Random) -> bytes:
    with _open(data) as (file, _, result):
        chosen = dice.choice(list(_objects(file)))
        parent, name = chosen.parent, chosen.name.rpartition("/")[2]
        names = (
            "conv2d_99",
            "sequential",
            "vars",
            "x",
            "dense_1",
            "0",
            "1",
            "9" * 50,
            "é",
            "normalization",
        )
        parent.move(name, dice.choice(names))
    return result.getvalue()


def remove(data: bytes, dice: random.Random) -> bytes:
    with _open(data) as (file, _, result):
        chosen = dice.choice(list(_objects(file)))
        del chosen.parent[chosen.name.rpartition("/")[2]]
    return result.getvalue()


@contextmanager
def _open(data: bytes) -> Iterator[tuple[Any, Any, io.BytesIO]]:
    import h5py

    result = io.BytesIO(data)
    with h5py.File(result, "r+", track_order=False) as file:
        yield file, h5py, result


def _objects(file: Any) -> list[Any]:
    names: list[str] = []
    file.visit(names.append)
    return [file[name] for name in names]


_STRUCTURE = (link, array, array, attribute, attribute, rename, remove)
_WORDS = (structure_word, structure_word, structure_word, *raw.ANY)


def change(data: bytes, dice: random.Random) -> bytes:
    """Structure first, while the file is sound: libhdf5 may not survive a damaged one."""
    choice = dice.randrange(3)
    if choice < 2:
        data = mutated(data, _STRUCTURE, dice)
    return mutated(data, _WORDS, dice) if choice else data

"""list and info: variants and files, at any width, in any terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_effnet.variants import VARIANTS
from support.command import SUFFIXES, call, done, file, needs_runtimes, refused, run


def test_list_as_json() -> None:
    rows = json.loads(done(call("list", "--json", "-")))
    assert [row["name"] for row in rows] == list(VARIANTS)
    lite0 = next(row for row in rows if row["short_name"] == "lite0")
    assert (lite0["params"], lite0["flops"], lite0["input_size"]) == (4652008, 385187552, 224)
    for row in rows:
        assert row["params"] > 4e6
        assert row["flops"] > 3e8
        assert row["published_source"]


def test_list_shows_whole_names_at_80_columns() -> None:
    lines = done(run("list")).splitlines()
    shown = [line.split()[0] for line in lines if "lite" in line]
    assert shown == [name for name in VARIANTS if "lite" in name]
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("columns", ["60", "72", "200"])
def test_list_in_other_widths(columns: str) -> None:
    text = done(run("list", env={"COLUMNS": columns}))
    assert max(len(line) for line in text.splitlines()) <= int(columns)
    assert "…" not in text
    assert "lite4" in text


@pytest.mark.parametrize(
    "env",
    [
        {"TERM": "dumb"},
        {"NO_COLOR": "1"},
        {"TERM": "dumb", "FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
def test_list_in_plain_terminals(env: dict[str, str]) -> None:
    text = done(run("list", env=env))
    assert "efficientnet-lite4" in text
    assert "\x1b[3" not in text
    if "PYTHONIOENCODING" in env:
        assert text.isascii()
        assert "\\u" not in text


def test_info_of_a_variant() -> None:
    text = done(call("info", "lite1"))
    assert text.startswith("efficientnet-lite1  (lite1)\n")
    assert "240 x 240 RGB" in text
    small, large = (
        json.loads(done(call("info", "lite0", *options, "--json", "-")))
        for options in (("--resolution", "96"), ())
    )
    assert (small["input_size"], large["input_size"]) == (96, 224)
    assert small["params"] == large["params"]
    assert small["flops"] < large["flops"] / 4
    assert "outside 32..2048" in refused(call("info", "lite0", "--resolution", "16"))


def test_info_of_what_is_neither_variant_nor_model(tmp_path: Path) -> None:
    assert "unknown variant 'lite'" in refused(call("info", "lite"))
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert f"cannot read {tmp_path}: it is a folder" in refused(call("info", tmp_path))
    assert "photo.jpg" in refused(call("info", tmp_path / "photo.jpg"))
    assert "there is no file lite0.onnx" in refused(call("info", "lite0.onnx"))


@needs_runtimes
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_info_of_a_file(suffix: str) -> None:
    path = file("int8", suffix)
    text = done(call("info", path))
    assert text.splitlines()[:3] == [
        str(path),
        "  variant          tiny-lite, int8",
        "  input            64 x 64 RGB, pixels",
    ]
    assert "calibrated on    4 photos\n" in text
    assert "10: class 0, class 1, class 2, ..." in text
    told = json.loads(done(call("info", path, "--json", "-")))
    assert told["file"] == str(path)
    assert told["card"]["labels"] == [f"class {n}" for n in range(10)]
    assert told["runtime"]["name"]

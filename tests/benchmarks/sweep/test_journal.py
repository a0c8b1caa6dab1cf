from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.benchmarks.sweep import journal as journals
from edge_effnet.benchmarks.sweep.journal import Journal
from edge_effnet.errors import OutputError, UsageError


def test_what_was_appended_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append("a", {"x": [1, 2]})
        journal.append("b", None)
        assert len(path.read_bytes().splitlines()) == 3  # before it is closed
        journal.append("a", {"x": (1, 2)})  # the same in JSON
        assert len(path.read_bytes().splitlines()) == 3
        journal.append("b", "exported again, to other bytes")
    with Journal(path) as journal:
        assert journal.done == {"a": {"x": [1, 2]}, "b": "exported again, to other bytes"}


@settings(max_examples=30)  # each waits for the disk
@given(st.lists(st.text(max_size=5), unique=True, max_size=5), st.floats(0, 1))
def test_cut_anywhere_it_goes_on_with_the_complete_lines(keys: list[str], where: float) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        with Journal(path) as journal:
            for key in keys:
                journal.append(key, {"of": key})
        whole = path.read_bytes()
        cut = whole[: round(where * len(whole))]
        path.write_bytes(cut)
        with Journal(path) as journal:
            done = list(journal.done)
            assert done == keys[: max(0, cut.count(b"\n") - 1)]
            for key in keys:
                journal.append(key, {"of": key})
        assert path.read_bytes() == whole


def test_it_is_one_process_s(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "j"),
        pytest.raises(UsageError, match="in use by another"),
    ):
        Journal(tmp_path / "j")
    Journal(tmp_path / "j").close()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"schema": 2}', "{", '{"key": "a", "result": 1}'], "damaged at line 2"),
        (['{"schema": 2}', "[]", "{}"], "damaged at line 2"),
        (['{"schema": 9}', ""], "another release"),
        (['{"schema": 1, "settings": {}}', ""], "another release"),
        (["{}", ""], "another release"),
    ],
)
def test_what_is_no_journal(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "j").write_text("\n".join(lines))
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(UsageError, match=message):
        Journal(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == before


def test_a_full_disk(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    with Journal(tmp_path / "j") as journal:
        journal._file.close()
        journal._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
        with pytest.raises(OutputError, match="run the same command again"):
            journal.append("a", 1)
        assert json.loads((tmp_path / "j").read_text())["schema"] == 2


def test_a_journal_of_another_kind_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        for key in "abc":
            journal.append(key, [[]] * 90)
    whole = path.read_bytes()
    for limit in ("MOST_VALUES", "MOST_BYTES"):
        monkeypatch.setattr(journals, limit, 500)
        with pytest.raises(UsageError, match="as no journal has"):
            Journal(path)
        assert path.read_bytes() == whole
        monkeypatch.undo()

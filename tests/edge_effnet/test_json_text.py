"""`json_text`: what `json.loads` reads, and `ValueError` for what would cost the stack or hours."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet import json_text

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_reads_what_json_reads(value: object) -> None:
    text = json.dumps(value)
    assert json_text.parse(text) == json.loads(text)
    assert json_text.parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"b":[', "]}]")])
def test_depth(opening: str, closing: str) -> None:
    for depth in (json_text.MAX_DEPTH + 1, 100_000):
        with pytest.raises(ValueError, match="nested deeper"):
            json_text.parse(opening * depth + "1" + closing * depth)
    assert json_text.parse("[" * json_text.MAX_DEPTH + "]" * json_text.MAX_DEPTH)


def test_long_numbers_and_texts() -> None:
    with pytest.raises(ValueError, match="5,000 digits"):
        json_text.parse("[" + "1" * 5000 + "]")
    with pytest.raises(ValueError, match="MB of JSON"):
        json_text.parse(b" " * (json_text.MAX_BYTES + 1))
    started = time.perf_counter()
    with pytest.raises(ValueError, match="Unterminated"):
        json_text.parse('"' + '\\"' * 1_000_000)
    assert time.perf_counter() - started < 60


def test_constants() -> None:
    assert json_text.parse("[Infinity]") == [float("inf")]
    for text in ("NaN", "[-Infinity]"):
        with pytest.raises(ValueError, match="not a number of JSON"):
            json_text.parse(text, finite=True)


def test_not_utf8() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        json_text.parse(b'"\xff"')


@pytest.mark.parametrize("value", ["[]", '{"":0}', "0", '"ab"'])
def test_number_of_values(value: str) -> None:
    count = json_text.MAX_VALUES + 1
    with pytest.raises(ValueError, match="more than 4,000,000 values"):
        json_text.parse(f"[{','.join([value] * count)}]")


@given(VALUES)
def test_most_values_is_an_upper_limit(value: object) -> None:
    def values(inside: object) -> int:
        inner = inside.values() if isinstance(inside, dict) else inside
        return 1 + sum(map(values, inner)) if isinstance(inside, (dict, list)) else 1

    assert json_text.most_values(json.dumps(value)) >= values(value)

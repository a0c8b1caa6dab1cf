"""ModelCard: to JSON and back, and cards that are damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.card import SCHEMA, CalibrationRecord, ModelCard, Quantization, Source
from edge_effnet.errors import ModelFileError
from edge_effnet.preprocess import INTERPOLATIONS, Preprocess

means, stds = st.floats(-1e6, 1e6), st.floats(1e-6, 1e6)
preprocesses = st.builds(
    Preprocess,
    size=st.integers(1, 4096),
    crop=st.floats(0.01, 1),
    interpolation=st.sampled_from(INTERPOLATIONS),
    mean=st.tuples(means, means, means),
    std=st.tuples(stds, stds, stds),
)
records = st.builds(
    CalibrationRecord,
    photos=st.integers(0, 10_000),
    samples=st.integers(0, 10_000),
    digest=st.text(),
    manifest=st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
)
quantizations = st.builds(
    Quantization,
    quantizer=st.text(),
    recipe=st.text(),
    calibration=st.none() | records,
    avx2_safe=st.booleans(),
    forced=st.booleans(),
)
cards = st.builds(
    ModelCard,
    variant=st.text(),
    preprocess=preprocesses,
    labels=st.lists(st.text(), min_size=1, max_size=4).map(tuple),
    source=st.none() | st.builds(Source, st.text(), st.text(), st.text()),
    precision=st.sampled_from(["fp32", "fp16", "int8"]),
    input=st.sampled_from(["pixels", "normalised"]),
    quantization=st.none() | quantizations,
    toolkit=st.text(),
    digest=st.text(),
)

CARD = ModelCard(
    "efficientnet-lite0",
    Preprocess(224, 0.875),
    ("tench", "goldfish"),
    source=Source("lite_pytorch", "a.pth", "0" * 64),
    precision="int8",
    input="pixels",
    quantization=Quantization(
        "edge-effnet", "default", CalibrationRecord(2, 4, "d", (("a.jpg", "1"),)), avx2_safe=True
    ),
)
PREPROCESS = json.loads(CARD.to_json())["preprocess"]


@given(cards)
def test_json_and_back(card: ModelCard) -> None:
    assert ModelCard.from_json(card.to_json()) == card


def test_the_same_card_gives_the_same_ascii_bytes() -> None:
    text = CARD.with_(labels=("Kätzchen 猫",)).to_json()
    assert text.isascii()
    content = json.loads(text)
    assert list(content) == sorted(content)
    assert json.dumps(content, sort_keys=True, separators=(",", ":")) == text


def test_what_others_find_in_the_json() -> None:
    content = json.loads(CARD.to_json())
    assert content["schema"] == SCHEMA
    assert content["variant"] == "efficientnet-lite0"
    assert content["labels"] == ["tench", "goldfish"]
    assert content["preprocess"] == {
        "size": 224,
        "crop": 0.875,
        "interpolation": "bicubic",
        "mean": [127.0] * 3,
        "std": [128.0] * 3,
    }
    assert content["quantization"]["calibration"]["samples"] == 4


def test_with_changes_one_field_of_a_copy() -> None:
    changed = CARD.with_(labels=("only",))
    assert (changed.labels, CARD.labels) == (("only",), ("tench", "goldfish"))
    assert changed.with_(labels=CARD.labels) == CARD


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(CARD.to_json()), **changes})


def without(name: str) -> str:
    content = json.loads(CARD.to_json())
    del content[name]
    return json.dumps(content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"card"',
        "{}",
        "[" * 100_000,
        CARD.to_json()[:-20],
        *(
            without(name)
            for name in ("schema", "variant", "preprocess", "labels", "precision", "input")
        ),
        changed(preprocess=None),
        changed(preprocess={"size": 224}),
        *(
            changed(preprocess={**PREPROCESS, name: value})
            for name, value in (
                ("mean", [1.0]),
                ("mean", [1.0] * 4),
                ("std", None),
                ("std", ["a"] * 3),
                ("size", "big"),
                ("size", float("inf")),
                ("size", 0),
                ("size", 10**9),
                ("std", [0.0, 1.0, 1.0]),
                ("std", [float("nan")] * 3),
                ("mean", [1e300] * 3),
                ("crop", None),
                ("crop", float("nan")),
                ("crop", 1.5),
                ("interpolation", "magic"),
            )
        ),
        changed(precision="int3"),
        changed(precision=[]),
        changed(input="sound"),
        changed(labels=7),
        changed(labels=[]),
        changed(source={"kind": "x"}),
        changed(quantization={"quantizer": "q"}),
        changed(quantization=[]),
        changed(quantization={"quantizer": "q", "recipe": "r", "calibration": {"manifest": [1]}}),
    ],
)
def test_damaged_cards_are_refused(text: str) -> None:
    with pytest.raises(
        ModelFileError,
        match=r"the model card (cannot be (read|used)|lacks).* export the file again",
    ):
        ModelCard.from_json(text)


def test_a_newer_schema_asks_for_a_newer_release() -> None:
    with pytest.raises(ModelFileError, match=r"another schema than 1; .* update edge-effnet"):
        ModelCard.from_json(changed(schema=SCHEMA + 1))


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ).map(json.dumps)
)
def test_whatever_is_there_instead_is_a_clear_error(text: str) -> None:
    with pytest.raises(ModelFileError):
        ModelCard.from_json(text)

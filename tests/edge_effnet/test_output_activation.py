"""One output, several labels, plain numbers: how outputs are read, in every format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet.calibration.fidelity import compare, jaccard
from edge_effnet.card import ModelCard
from edge_effnet.checkpoints.canonical import save
from edge_effnet.classifier import class_logits, probabilities
from edge_effnet.converters.formats.model_api import model_info
from edge_effnet.errors import UsageError
from edge_effnet.labels import interpret
from edge_effnet.model import Model
from edge_effnet.names import OutputActivation
from edge_effnet.preprocess import Preprocess
from support import command
from support import tflite_models as small


def model_of(outputs: int, activation: OutputActivation, names: tuple[str, ...]) -> Model:
    model = small.model_of(small.LITE, classes=outputs)
    answer = interpret("tiny", outputs, activation, names)
    info = replace(
        model.info,
        labels=answer.labels,
        output_activation=answer.activation,
        multi_label=answer.multi_label,
    )
    return replace(model, info=info)


def files(model: Model, out: Path) -> dict[tuple[str, str], Path]:
    paths = edge_effnet.export(model, calibration=command.photos(), out=out, notify=lambda _: None)
    return {(path.stem.split("-")[2], path.suffix): path for path in paths}


def card(activation: OutputActivation, labels: int, multi_label: bool = False) -> ModelCard:
    names = tuple(f"class {n}" for n in range(labels))
    return ModelCard(
        "x", Preprocess(8, 1.0), names, output_activation=activation, multi_label=multi_label
    )


def test_one_output_must_be_explained() -> None:
    with pytest.raises(UsageError, match=r"one output.*output_activation=.sigmoid"):
        interpret("a.pth", 1, None)
    with pytest.raises(UsageError, match="softmax is always 1"):
        interpret("a.pth", 1, "softmax")
    with pytest.raises(UsageError, match="names 3 classes but one sigmoid output"):
        interpret("a.pth", 1, "sigmoid", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("given", "names"),
    [(("cat", "dog"), ("cat", "dog")), (("dog",), ("not dog", "dog")), (None, None)],
)
def test_one_sigmoid_output_has_two_names(
    given: tuple[str, ...] | None, names: tuple[str, ...] | None
) -> None:
    found = interpret("a.pth", 1, "sigmoid", given)
    assert found.labels == (names or ("class 0", "class 1"))
    assert repr(found.labels[1]) in found.notes[0]


def test_a_number_has_one_name_and_labels_one_each() -> None:
    assert interpret("a.pth", 1, "none", ("age",)).labels == ("age",)
    found = interpret("a.pth", 3, "sigmoid", ("a", "b", "c"))
    assert (found.multi_label, found.notes) == (True, ())
    assert not interpret("a.pth", 3, None, ("a", "b", "c")).multi_label


def test_the_card_keeps_it_and_older_cards_are_softmax() -> None:
    for each in (card("sigmoid", 2), card("sigmoid", 3, True), card("none", 1)):
        assert ModelCard.from_json(each.to_json()) == each
    squash = card("softmax", 3).with_(preprocess=Preprocess(8, 1.0, crop_mode="squash"))
    assert ModelCard.from_json(squash.to_json()) == squash
    plain = card("softmax", 3).to_json()
    assert "activation" not in plain
    assert "crop_mode" not in plain


def test_probabilities_of_each_kind() -> None:
    z = np.array([[-2.0], [0.0], [3.0]], np.float32)
    p = 1 / (1 + np.exp(-z))
    binary = card("sigmoid", 2)
    np.testing.assert_allclose(
        probabilities(binary, class_logits(binary, z)), np.hstack([1 - p, p]), rtol=1e-6
    )
    many = card("sigmoid", 3, multi_label=True)
    logits = np.array([[-1.0, 0.0, 100.0]], np.float32)
    np.testing.assert_allclose(probabilities(many, logits), [[1 / (1 + np.e), 0.5, 1.0]], rtol=1e-6)
    assert probabilities(card("none", 3), logits) is logits


@pytest.mark.parametrize("activation", ["sigmoid", "none"])
def test_files_of_one_output(activation: OutputActivation, tmp_path: Path) -> None:
    names = ("key", "no key") if activation == "sigmoid" else ("age",)
    model = model_of(1, activation, names)
    model = replace(model, weights={**model.weights, "classifier.bias": np.zeros(1, np.float32)})
    photos = sorted(command.photos().iterdir())
    found = files(model, tmp_path)
    assert len(found) == 6
    expected = edge_effnet.open(found["fp32", ".onnx"]).logits(photos)
    assert expected.shape == (4, len(names))
    for (precision, _), path in found.items():
        classify = edge_effnet.open(path)
        assert classify.card.outputs == 1
        assert classify.card.labels == names
        tolerance = 1e-3 if precision == "fp32" else 0.3 * np.abs(expected).max()
        np.testing.assert_allclose(classify.logits(photos), expected, rtol=0, atol=tolerance)
        best = classify(photos[0])
        if activation == "none":
            assert best == [("age", pytest.approx(float(classify.logits(photos[:1])[0, 0])))]
        else:
            assert sum(share for _, share in best) == pytest.approx(1)
            z = classify.logits(photos[:1])[0, 1]
            assert dict(best)["no key"] == pytest.approx(1 / (1 + np.exp(-z)), rel=1e-5)


def test_a_multi_label_answer_is_a_set(tmp_path: Path) -> None:
    model = model_of(4, "sigmoid", ("a", "b", "c", "d"))
    found = files(model, tmp_path)
    photo = min(command.photos().iterdir())
    for path in found.values():
        classify = edge_effnet.open(path)
        shares = dict(zip(classify.card.labels, classify.probabilities([photo])[0], strict=True))
        answer = classify(photo)
        assert dict(answer) == {k: pytest.approx(p) for k, p in shares.items() if p >= 0.5}
        assert classify(photo, threshold=2.0) == []
        assert len(classify(photo, threshold=0.0)) == 4
        assert classify(photo, top=1, threshold=0.0)[0][1] == pytest.approx(max(shares.values()))


def test_fidelity_of_one_output_is_that_of_its_decisions() -> None:
    info = card("sigmoid", 2).info
    z = np.linspace(-4, 4, 100, dtype=np.float32)[:, None]
    shifted = compare(class_logits(info, z), class_logits(info, z + 1), info)
    assert shifted.agreement == pytest.approx(np.mean((z > 0) == (z + 1 > 0)))
    stuck = compare(
        class_logits(info, np.abs(z) + 5), class_logits(info, np.zeros_like(z) + 1), info
    )
    assert stuck.agreement == 1
    assert stuck.collapsed
    assert "SQNR of only" in str(stuck.refusal("x.onnx"))
    assert "top-1" not in str(stuck.refusal("x.onnx"))


def test_fidelity_of_several_labels_is_the_jaccard_index() -> None:
    first = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    second = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0]], bool)
    assert jaccard(first, second).tolist() == [0.5, 1.0, 0.0]
    info = card("sigmoid", 3, multi_label=True).info
    logits = [np.where(each, 1.0, -1.0).astype(np.float32) for each in (first, second)]
    assert compare(*logits, info).agreement == pytest.approx(0.5)
    many = [np.repeat(each, 100, axis=0) for each in logits]
    assert "its agreement of labels (Jaccard index)" in str(compare(*many, info).refusal("x"))


def test_what_knows_classes_only_refuses_numbers(tmp_path: Path) -> None:
    path = str(files(model_of(2, "none", ("age", "size")), tmp_path)["fp32", ".onnx"])
    photos = str(command.photos())
    for arguments in (
        ["evaluate", path, "--images", photos],
        ["camera", path, "--source", photos, "--preview", "none"],
        ["doctor", path, "--images", photos],
    ):
        assert "plain numbers" in command.refused(command.call(*arguments)), arguments


def test_sets_of_labels_on_the_command_line(tmp_path: Path) -> None:
    found = files(model_of(3, "sigmoid", ("a", "b", "c")), tmp_path)
    photo = str(min(command.photos().iterdir()))
    everything = command.call("classify", str(found["fp32", ".onnx"]), photo, "--threshold", "0.01")
    assert len(everything.stdout.splitlines()) == 4
    nothing = command.call("classify", str(found["fp32", ".onnx"]), photo, "--threshold", "1")
    assert "no label has a probability of 1" in nothing.stdout
    refused = command.refused(
        command.call("classify", str(found["fp32", ".onnx"]), photo, "--threshold", "2")
    )
    assert "--threshold 0.5" in refused
    paths = [str(path) for (_, suffix), path in found.items() if suffix == ".onnx"]
    text = command.call("evaluate", *paths, "--images", str(command.photos()), "--json", "-").stdout
    records = json.loads(text)["records"]
    assert all(record["threshold"] == 0.5 and record["top1"] is None for record in records)


@pytest.mark.parametrize(
    ("outputs", "activation", "names"),
    [(3, "sigmoid", ("a", "b", "c")), (1, "sigmoid", ("no", "yes")), (2, "none", ("age", "size"))],
)
def test_the_page_is_told_how_to_read(
    outputs: int, activation: OutputActivation, names: tuple[str, ...], tmp_path: Path
) -> None:
    from edge_effnet.apps.web import site

    path = files(model_of(outputs, activation, names), tmp_path)["fp32", ".onnx"]
    page = site.describe(edge_effnet.open(path), path.read_bytes(), "onnx")
    assert (page["labels"], page["activation"]) == (list(names), activation)
    assert page["multi_label"] == (outputs == 3)
    assert page["threshold"] == 0.5


def test_numbers_are_not_shown_as_percentages(tmp_path: Path) -> None:
    path = files(model_of(1, "none", ("age",)), tmp_path)["fp32", ".onnx"]
    photo = min(command.photos().iterdir())
    ((_, value),) = edge_effnet.open(path)(photo)
    answer = command.call("classify", str(path), str(photo), "--json", "-")
    assert json.loads(answer.stdout)[0]["top"] == [{"label": "age", "value": value}]
    shown = command.call("classify", str(path), str(photo)).stdout
    assert f"{value:g}  age" in shown
    assert "%" not in shown


def test_the_camera_reads_one_sigmoid_output(tmp_path: Path) -> None:
    from edge_effnet.apps.camera.engine import Engine

    classify = edge_effnet.open(
        files(model_of(1, "sigmoid", ("cat", "dog")), tmp_path)["fp32", ".onnx"]
    )
    photo = min(command.photos().iterdir())
    tensor = classify.tensor(classify.card.preprocess.pixels(photo))
    prediction = Engine((classify,)).predict(0, 0, tensor, activation=False)
    expected = classify.probabilities([photo])[0]
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-5)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_the_camera_reads_sets_of_labels(threshold: float, tmp_path: Path) -> None:
    from edge_effnet.answers import Rule
    from edge_effnet.apps.camera.answers.answering import Answering
    from edge_effnet.apps.camera.answers.lines import json_lines
    from edge_effnet.apps.camera.engine import Engine
    from edge_effnet.apps.camera.frames import Frame, Prediction, Result
    from edge_effnet.apps.camera.scene import PanelMaker

    path = files(model_of(3, "sigmoid", ("a", "b", "c")), tmp_path)["fp32", ".onnx"]
    rule = Rule(1.0, threshold, 0.0)
    engine = Engine((edge_effnet.open(path),), rule)
    frame = Frame(np.zeros((4, 4, 3), np.uint8), 1, 0.0, 0.0)
    answering = Answering([engine.classifier.card], rule)
    rows = (
        ((0.6, 0.1, 0.9), ("c", "a") if threshold < 0.7 else ("c",), ""),
        ((0.4, 0.1, 0.2), (), "none of the labels"),
    )
    for values, names, doubt in rows:
        prediction = Prediction(0, np.array(values, np.float32), 0.01)
        result = Result(frame, (prediction,), 0.0, 0.0)
        result = replace(result, answers=answering(result))
        assert engine.names_of(prediction) == set(names)
        panel = PanelMaker([engine], 5).panel(result.answers[0])
        assert [label for label, _ in panel.top] == list(names)
        assert panel.doubt == doubt
        (line,) = json_lines(result, [engine], "x")
        content = json.loads(line)
        assert [each["label"] for each in content["labels"]] == list(names)
        assert content["answer"] == content["labels"]
        assert "label" not in content


@pytest.mark.parametrize(
    ("outputs", "activation", "names"),
    [(3, "sigmoid", ("a", "b", "c")), (1, "none", ("age",)), (1, "sigmoid", ("no", "yes"))],
)
def test_a_bundle_says_what_the_classifier_does(
    outputs: int,
    activation: OutputActivation,
    names: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from edge_effnet.apps.bundle import launcher

    path = files(model_of(outputs, activation, names), tmp_path)["fp32", ".onnx"]
    photo = min(command.photos().iterdir())
    words = ["classify", "--top", "5", "--threads", "1", "--min-confidence", "0.9", str(photo)]
    options, _ = launcher.parse(words)
    assert launcher.predict(path, options.photos, options) == 0
    line = json.loads(capsys.readouterr().out)
    expected = edge_effnet.open(path)(photo)
    key = "value" if activation == "none" else "probability"
    found = line["labels" if outputs == 3 else "top"]
    assert [(each["label"], each[key]) for each in found] == [
        (label, pytest.approx(value, abs=1e-4)) for label, value in expected
    ]
    assert ("label" in line) == (outputs == 1)
    if names == ("no", "yes"):
        assert (line["answer"] is not None) == (expected[0][1] >= 0.9)
    else:
        assert "answer" not in line


@pytest.mark.parametrize(("outputs", "names"), [(3, ("a", "b", "c")), (1, ("no", "yes"))])
def test_saved_weights_keep_how_they_are_read(
    outputs: int, names: tuple[str, ...], tmp_path: Path
) -> None:
    model = edge_effnet.load(
        "lite0", "random", classes=outputs, resolution=32, labels=names,
        output_activation="sigmoid", crop_mode="border", notify=lambda _: None,
    )  # fmt: skip
    path = save(model, tmp_path / "saved.safetensors")
    again = edge_effnet.load("auto", path, notify=lambda _: None)
    assert again.info.preprocess == model.info.preprocess
    assert (again.info.output_activation, again.info.multi_label) == ("sigmoid", outputs == 3)
    assert again.info.labels == names


def test_metadata_of_other_clients_says_how_to_read() -> None:
    assert model_info(card("softmax", 3))["model_info resize_type"] == "crop"
    squash = card("softmax", 3).with_(preprocess=Preprocess(8, 1.0, crop_mode="squash"))
    assert model_info(squash)["model_info resize_type"] == "standard"
    assert model_info(card("sigmoid", 3, True))["model_info multilabel"] == "True"
    assert "model_info model_type" not in model_info(card("sigmoid", 2))


def test_our_onnx_file_converts_with_its_own_reading(tmp_path: Path) -> None:
    model = model_of(3, "sigmoid", ("a", "b", "c"))
    squash = replace(model.info.preprocess, crop_mode="squash")
    model = replace(model, info=replace(model.info, preprocess=squash))
    path = files(model, tmp_path)["fp32", ".onnx"]
    command.call(
        *("export", "auto", "--weights", str(path), "--formats", "openvino"),
        *("--precisions", "fp32", "--out", str(tmp_path / "again")),
    )
    (again,) = (tmp_path / "again").glob("*.xml")
    photo = min(command.photos().iterdir())
    first, second = (edge_effnet.open(each).probabilities([photo]) for each in (path, again))
    np.testing.assert_allclose(second, first, atol=1e-5)

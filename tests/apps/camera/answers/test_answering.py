"""Smoothing over frames, restarts at scene changes, and unsure answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="the camera needs the extra 'camera'")

import edge_effnet  # noqa: E402
from edge_effnet.answers import SCENE_CHANGE, SMOOTHING, Rule, answered  # noqa: E402
from edge_effnet.apps.camera.answers.answering import Answering  # noqa: E402
from edge_effnet.apps.camera.answers.scene_change import SceneChange, cells  # noqa: E402
from edge_effnet.apps.camera.frames import Frame, Prediction, Result  # noqa: E402
from support import command  # noqa: E402
from support.labelled_photos import DATA, Files, LabelledPhotos  # noqa: E402

STREET = np.full((48, 64, 3), 90, np.uint8)
BEACH = np.full((48, 64, 3), 200, np.uint8)


def result(probabilities: list[float], moment: float, image: np.ndarray = STREET) -> Result:
    prediction = Prediction(0, np.array(probabilities, np.float32), 0.01)
    return Result(Frame(image, 0, 0.0, moment), (prediction,), 0.0, 0.0)


@pytest.fixture(scope="module")
def card() -> edge_effnet.card.ModelCard:
    return edge_effnet.open(command.file("int8", ".tflite")).card


def test_probabilities_are_smoothed_exponentially(card) -> None:
    """After one time constant of a new value, 1 - 1/e of the change has arrived."""
    answering = Answering([card], Rule(0.0, 0.5, 0.5))
    answering(result([1.0, 0.0], 10.0))
    (answer,) = answering(result([0.0, 1.0], 10.5))
    assert answer.probabilities == pytest.approx([np.exp(-1), 1 - np.exp(-1)], abs=1e-6)
    # Many small steps equal one large step, whatever the frame rate.
    often = Answering([card], Rule(0.0, 0.5, 0.5))
    often(result([1.0, 0.0], 10.0))
    for step in range(1, 51):
        (answer,) = often(result([0.0, 1.0], 10 + step / 100))
    assert answer.probabilities == pytest.approx([np.exp(-1), 1 - np.exp(-1)], abs=1e-5)


def test_one_odd_frame_changes_no_answer(card) -> None:
    for smoothing, classes in ((SMOOTHING, (0,)), (0.0, (1,))):
        answering = Answering([card], Rule(0.3, 0.5, smoothing))
        for number in range(10):
            answering(result([0.9, 0.1], number / 10))
        (answer,) = answering(result([0.1, 0.9], 1.0))
        assert answer.classes == classes


def test_a_scene_change_restarts_smoothing(card) -> None:
    answering = Answering([card], Rule(0.0, 0.5, 0.5))
    answering(result([1.0, 0.0], 0.0))
    (answer,) = answering(result([0.0, 1.0], 0.1, BEACH))
    assert answer.probabilities == pytest.approx([0.0, 1.0])


def test_below_the_least_confidence_there_is_no_answer(card) -> None:
    answering = Answering([card], Rule(0.35, 0.5, 0.0))
    assert answering(result([0.34, 0.33], 0.0))[0].classes == ()
    assert answering(result([0.35001, 0.33], 0.0))[0].classes == (0,)
    assert answered(card, np.array([0.01, 0.02], np.float32), Rule(0.0)) == (1,)


@pytest.mark.parametrize(("classes", "least"), [(1000, 0.35065), (5, 0.48), (2, 0.675)])
def test_the_least_confidence_is_above_chance(classes: int, least: float) -> None:
    """A guess is no answer, however few classes there are; a given value is taken as it is."""
    assert Rule().least_confidence(classes) == pytest.approx(least)
    assert Rule(0.4).least_confidence(classes) == 0.4


def test_cells_are_the_mean_colours_of_the_picture() -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    image[:, 80:, 2] = 100
    expected = np.zeros((8, 8, 3))
    expected[:, 4:, 2] = 100
    assert np.array_equal(cells(image), expected)
    assert cells(np.zeros((3, 5, 3), np.uint8)).shape == (8, 8, 3)  # smaller than the cells


@pytest.fixture(scope="module")
def street() -> Path:
    """Real footage: a street, one scene, 795 frames."""
    path = DATA / "video" / "pedestrians.avi"
    if not path.is_file():
        pytest.skip(f"there is no {path}; set EDGE_EFFNET_DATA to the data")
    return path


def test_a_street_is_one_scene_and_photos_are_many(
    street: Path, imagenet_dev: LabelledPhotos
) -> None:
    """Real frames stay below half of the limit; real photos exceed it."""
    capture = cv2.VideoCapture(str(street))
    differences, last = [], None
    changed = SceneChange()
    while (frame := capture.read())[0]:
        assert not changed(frame[1])
        now = cells(frame[1])
        differences += [] if last is None else [np.abs(now - last).mean()]
        last = now
    assert len(differences) == 794
    assert max(differences) < SCENE_CHANGE / 2
    photos = [cv2.imread(str(path)) for path in imagenet_dev.paths("evaluation")[:100]]
    assert all(changed(photo) for photo in photos)


@pytest.mark.slow
def test_a_street_is_no_planetarium(lite0_files: Files, street: Path, tmp_path: Path) -> None:
    """Real frames: single frames name many classes, answers name none."""
    lines = tmp_path / "lines.jsonl"
    done = command.call(
        *("camera", lite0_files["tflite", "int8"], "--preview", "none", "--pace", "fast"),
        *("--source", street, "--max-frames", 150),
        *("--predictions", lines, "--json", "-"),
    )
    summary = json.loads(command.done(done))
    contents = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len({content["label"] for content in contents}) > 2
    assert all(content["answer"] is None for content in contents)
    assert summary["models"][0]["unsure"] == len(contents) == 150
    assert summary["models"][0]["answers"] == {}


def test_answers_to_a_video_do_not_depend_on_speed(tmp_path: Path) -> None:
    """With --pace fast the video's own time counts, so that two runs give equal answers."""
    video = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(30):
        writer.write(rng.integers(80, 110, (48, 64, 3), dtype=np.uint8))
    writer.release()
    runs = []
    for copies in (1, 2):
        target = tmp_path / f"{copies}.jsonl"
        command.done(
            command.call(
                *("camera", command.file("int8", ".tflite"), "--source", video),
                *("--pace", "fast", "--preview", "none", "--copies", copies),
                *("--predictions", target, "--min-confidence", 0),
            )
        )
        runs.append([json.loads(line)["answer"] for line in target.read_text().splitlines()])
    assert len(runs[0]) == 30
    assert runs[0] == runs[1]
    assert len({answer["probability"] for answer in runs[0]}) > 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--min-confidence", "1.5"), "a least confidence of 1.5 is no probability from 0 to 1"),
        (("--min-confidence", "nan"), "a least confidence of nan"),
        (("--smoothing", "-1"), "a smoothing time of -1 s is not possible; give --smoothing 0.5"),
        (("--threshold", "0"), "a threshold of 0 is no probability"),
    ],
)
def test_impossible_rules_are_refused(words: tuple[str, ...], message: str) -> None:
    done = command.call("camera", command.file("int8", ".tflite"), "--preview", "none", *words)
    assert message in command.refused(done)

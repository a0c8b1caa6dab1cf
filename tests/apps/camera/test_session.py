"""Whole sessions on small files: what is shown, recorded, answered and refused."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import command

cv2 = pytest.importorskip("cv2", reason="the camera needs the extra 'camera'")

import edge_effnet  # noqa: E402
from edge_effnet.answers import Rule  # noqa: E402
from edge_effnet.apps.camera.controls import Controls  # noqa: E402
from edge_effnet.apps.camera.frames import Frame, Result  # noqa: E402
from edge_effnet.apps.camera.scene import Scene  # noqa: E402
from edge_effnet.apps.camera.session import Session, Settings  # noqa: E402
from edge_effnet.apps.camera.sources import Stream, source_of  # noqa: E402
from edge_effnet.apps.camera.views import Picture, key_actions  # noqa: E402
from edge_effnet.errors import CameraError  # noqa: E402


class Collector:
    """A view that keeps its scenes, and presses keys when the n-th scene is shown."""

    def __init__(self, controls: Controls, keys: dict[int, str] | None = None) -> None:
        self.scenes: list[Scene] = []
        self.pictures: list[np.ndarray] = []
        self._actions, self._keys, self.closed = key_actions(controls), keys or {}, False

    def show(self, scene: Scene, drawn: Picture) -> None:
        self.scenes.append(scene)
        self.pictures.append(drawn())
        for key in self._keys.get(len(self.scenes), ""):
            self._actions[key]()

    def poll(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def lossless(tmp_path: Path) -> Path:
    """PNG photos, so that the frames are the photos' own pixels."""
    folder = tmp_path / "pngs"
    folder.mkdir()
    for path in sorted(command.photos().iterdir()):
        Image.open(path).save(folder / f"{path.stem}.png")
    return folder


def session(
    folder: Path, *files: Path, keys: dict[int, str] | None = None, **settings: object
) -> tuple[dict[str, object], Collector]:
    controls = Controls(len(files), side_by_side=bool(settings.pop("side_by_side", False)))
    view = Collector(controls, keys)
    source = source_of(str(folder))
    source.open()
    workers = settings.pop("workers", 1)
    opened = [tuple(edge_effnet.open(file, threads=1) for _ in range(workers)) for file in files]
    settings = {"pace": "fast", "rule": Rule(min_confidence=0.0), **settings}
    made = Session(source, opened, controls, [view], print, Settings(**settings))
    return made.run(), view


def test_frames_are_answered_as_photos_are(lossless: Path) -> None:
    """BGR frames through the threads give the very logits that the classifier gives."""
    file = command.file("int8", ".tflite")
    summary, view = session(lossless, file, top=1)
    classifier = edge_effnet.open(file)
    wanted = [classifier(path, top=1)[0] for path in sorted(lossless.iterdir())]
    assert summary["processed"] == summary["captured"] == len(wanted) == len(view.scenes)
    assert summary["dropped"] == 0
    counts = summary["models"][0]["answers"]
    assert sum(counts.values()) == len(wanted)
    assert set(counts) == {label for label, _ in wanted}
    assert view.scenes[0].panels[0].top[0] == wanted[0]
    assert view.closed


def test_workers_answer_the_same_in_order(lossless: Path) -> None:
    """Three workers take frames in turns; results come in the frames' order, and none is lost."""
    file = command.file("int8", ".tflite")
    runs = [
        session(lossless, file, loop=True, max_frames=30, workers=workers) for workers in (1, 3)
    ]
    (alone, one), (together, several) = runs
    assert together["workers"] == 3
    for summary, view in runs:
        assert summary["processed"] == 30
        numbers = [scene.frame.number for scene in view.scenes]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 29  # the end may come before the last picture is shown
    assert together["models"][0]["answers"] == alone["models"][0]["answers"]
    assert several.scenes[0].panels[0].top == one.scenes[0].panels[0].top


def test_a_failing_worker_holds_up_nobody(lossless: Path) -> None:
    source = source_of(str(lossless))
    source.open()
    copies = tuple(edge_effnet.open(command.file("int8", ".tflite"), threads=1) for _ in range(3))
    settings = Settings(pace="fast", loop=True)
    made = Session(source, [copies], Controls(1), [], print, settings)
    infer = made.inference.infer

    def fail_at_five(frame: Frame, worker: int) -> Result:
        if frame.number == 5:
            raise RuntimeError("broken")
        return infer(frame, worker)

    made.inference.infer = fail_at_five
    with pytest.raises(RuntimeError, match="broken"):
        made.run()
    assert made.inference.processed <= 5
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"capture", "infer 0", "infer 1", "infer 2"}


class Rush:
    """A live source that gives frames as fast as they are read."""

    live, fps, name = True, None, "rush"

    def open(self) -> None:
        pass

    def read(self) -> np.ndarray:
        time.sleep(0.001)
        return np.full((48, 64, 3), 90, np.uint8)

    def rest(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_drawing_keeps_to_the_rate_of_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edge_effnet.apps.camera.session.SHOW_FPS", 5.0
    )  # below that of inference on any machine
    controls = Controls(1)
    view = Collector(controls)
    copies = (edge_effnet.open(command.file("int8", ".tflite"), threads=1),)
    made = Session(Rush(), [copies], controls, [view], print, Settings(seconds=2.0))
    summary = made.run()
    assert 2 <= len(view.scenes) <= 5.0 * summary["seconds"] + 2
    assert summary["processed"] > len(view.scenes)


def test_a_pause_shows_at_once() -> None:
    """Not only when the next frame comes, for none does."""
    controls = Controls(1)
    view = Collector(controls, keys={3: " "})
    copies = (edge_effnet.open(command.file("int8", ".tflite"), threads=1),)
    Session(Rush(), [copies], controls, [view], print, Settings(seconds=4.0)).run()
    assert view.scenes[-1].paused
    assert len(view.scenes) <= 8


def test_quick_pixels(lossless: Path) -> None:
    file = command.file("int8", ".tflite")
    exactly, _ = session(lossless, file)
    quickly, view = session(lossless, file, quick=True)
    assert (exactly["pixels"], quickly["pixels"]) == ("exact", "quick")
    assert quickly["processed"] == len(view.scenes) == 4


def test_side_by_side_shows_the_difference(lossless: Path) -> None:
    files = (command.file("fp32", ".tflite"), command.file("int8", ".onnx"))
    summary, view = session(lossless, *files, side_by_side=True)
    assert all(len(scene.panels) == 2 for scene in view.scenes)
    assert "largest difference" in view.scenes[-1].difference
    first, second = (edge_effnet.open(file) for file in files)
    pairs = [(first(path, 1), second(path, 1)) for path in sorted(lossless.iterdir())]
    assert summary["agreement"] == np.mean([a[0][0] == b[0][0] for a, b in pairs])


def test_keys_switch_model_heat_map_and_end(lossless: Path, tmp_path: Path) -> None:
    files = (command.file("fp32", ".tflite"), command.file("int8", ".tflite"))
    keys = {2: "nc", 10: "s", 12: "q"}
    summary, view = session(lossless, *files, keys=keys, loop=True, screenshots=str(tmp_path))
    assert view.scenes[1].panels[0].title == "tiny-lite fp32, LiteRT"
    assert view.scenes[9].panels[0].title == "tiny-lite int8, LiteRT"
    assert view.scenes[0].heat is None
    assert view.scenes[9].heat is not None
    assert summary["ended"] == "quit"
    (path,) = summary["screenshots"]
    assert Image.open(path).size == view.pictures[-1].shape[1::-1]


def test_a_screenshot_that_cannot_be_saved_ends_nothing(lossless: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    summary, view = session(
        lossless, command.file("int8", ".tflite"), keys={2: "s", 8: "q"}, loop=True,
        screenshots=str(blocked / "inside"),
    )  # fmt: skip
    assert summary["ended"] == "quit"
    assert "screenshots" not in summary
    assert "no screenshot: " in view.scenes[-1].notice
    assert view.scenes[0].notice == ""


def test_a_panel_says_that_the_model_is_unsure(lossless: Path) -> None:
    """The classes stay in the panel; the picture differs from that of a sure model."""
    file = command.file("int8", ".tflite")
    unsure, one = session(lossless, file, rule=Rule(min_confidence=1.0))
    sure, other = session(lossless, file, rule=Rule(min_confidence=0.0))
    assert (unsure["models"][0]["unsure"], sure["models"][0]["unsure"]) == (4, 0)
    assert {scene.panels[0].doubt for scene in one.scenes} == {"unsure"}
    assert {scene.panels[0].doubt for scene in other.scenes} == {""}
    assert one.scenes[0].panels[0].top == other.scenes[0].panels[0].top
    assert not np.array_equal(one.pictures[0], other.pictures[0])


def test_the_summary_counts_unsure_frames_in_the_words_of_the_panel(lossless: Path) -> None:
    done = command.run(*folder_command(lossless, "--predictions", "-", "--min-confidence", 1))
    command.done(done)
    assert "unsure (4)" in done.stderr


def test_recording_has_every_picture(lossless: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.avi"
    summary, view = session(lossless, command.file("int8", ".tflite"), record=str(target))
    assert summary["recording"] == str(target)
    assert command.contents(tmp_path / ".") == [
        "out.avi",
        *(f"pngs/photo-{n}.png" for n in range(4)),
    ]
    video = cv2.VideoCapture(str(target))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert len(frames) == summary["processed"]
    assert np.abs(frames[0].astype(int) - view.pictures[0]).mean() < 8  # MJPEG is lossy


def test_a_failing_file_ends_everything(lossless: Path) -> None:
    controls = Controls(1)
    source = source_of(str(lossless))
    source.open()
    made = Session(
        source, [(edge_effnet.open(command.file("int8", ".tflite")),)], controls, [], print
    )

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    made.inference.infer = fail
    with pytest.raises(RuntimeError, match="broken"):
        made.run()


def test_command_reports_a_folder(lossless: Path) -> None:
    done = command.call(
        "camera", command.file("int8", ".tflite"), "--source", lossless, "--preview", "none",
        "--pace", "fast", "--json", "-",
    )  # fmt: skip
    report = json.loads(command.done(done))
    assert report["processed"] == 4
    assert report["ended"] == "end of the source"


def folder_command(folder: Path, *options: object) -> tuple[object, ...]:
    return ("camera", command.file("int8", ".tflite"), command.file("fp32", ".tflite"),
            "--side-by-side", "--source", folder, "--preview", "none", "--pace", "fast",
            *options)  # fmt: skip


def test_predictions_as_json_lines(lossless: Path, tmp_path: Path) -> None:
    """One line per frame and file, appended, with the very classes that the classifier gives."""
    target, summary = tmp_path / "lines.jsonl", tmp_path / "summary.json"
    words = folder_command(lossless, "--predictions", target, "--json", summary, "--copies", 2)
    began = time.time()
    for _ in range(2):
        command.done(command.call(*words))
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(lines) == 2 * 4 * 2
    assert lines[:8] != lines[8:]
    assert [(line["frame"], line["label"]) for line in lines[:8]] == [
        (line["frame"], line["label"]) for line in lines[8:]
    ]
    for name in ("int8", "fp32"):
        file = command.file(name, ".tflite")
        classify = edge_effnet.open(file)
        own = [line for line in lines[:8] if line["file"] == str(file)]
        wanted = [classify(path, top=1)[0] for path in sorted(lossless.iterdir())]
        assert [line["frame"] for line in own] == [0, 1, 2, 3]
        assert [line["label"] for line in own] == [label for label, _ in wanted]
        assert np.allclose(
            [line["probability"] for line in own], [share for _, share in wanted], atol=1e-3
        )
        for line in own:
            moment = datetime.fromisoformat(line["time"])
            assert moment.utcoffset() == timedelta(0)
            assert began - 1 < moment.timestamp() < time.time() + 1
            assert line["ms"] > 0
            assert line["source"] == str(lossless)
    assert json.loads(summary.read_text())["processed"] == 4


def test_predictions_on_stdout_leave_nothing_else_there(lossless: Path) -> None:
    done = command.run(*folder_command(lossless, "--predictions", "-"))
    assert len([json.loads(line) for line in command.done(done).splitlines()]) == 8
    assert "4 of 4 frames inferred" in done.stderr


def test_a_reader_of_predictions_that_leaves(lossless: Path) -> None:
    words = folder_command(lossless, "--predictions", "-", "--loop")
    script = [str(word) for word in (command.SCRIPT, *words)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.wait(300) == 0
        assert b"Traceback" not in process.stderr.read()


def test_predictions_that_cannot_be_written(lossless: Path, tmp_path: Path) -> None:
    done = command.call(*folder_command(lossless, "--predictions", tmp_path))
    assert f"cannot write {tmp_path}: Is a directory" in command.refused(done)
    done = command.call(*folder_command(lossless, "--predictions", "-", "--json", "-"))
    assert "cannot both go to stdout" in command.refused(done)
    if Path("/dev/full").exists():
        done = command.run(*folder_command(lossless, "--predictions", "/dev/full"))
        assert "cannot write /dev/full: No space left on device" in command.refused(done)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.mp4", "there is no video nothing.mp4"),
        ("gopher://a/b", "gopher:// is no stream"),
        ("7", "camera 7 cannot be opened"),
        ("http://127.0.0.1:9/x", "the stream http://127.0.0.1:9/x cannot be opened"),
    ],
)
def test_sources_that_do_not_exist(source: str, message: str) -> None:
    done = command.call(
        "camera", command.file("int8", ".tflite"), "--source", source, "--preview", "none"
    )
    assert message in command.refused(done)


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("not a video")
    with pytest.raises(CameraError, match="no video that OpenCV can decode"):
        source_of(str(path)).open()


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    done = command.call("camera", command.file("int8", ".tflite"))
    assert "there is no display" in command.refused(done)


def test_a_display_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":987")
    done = command.call("camera", command.file("int8", ".tflite"))
    assert "--preview" in command.refused(done)


def test_a_window_opens(lossless: Path, display: str) -> None:
    done = command.run(
        *("camera", command.file("int8", ".tflite"), "--source", lossless),
        *("--fps", "20", "--json", "-"),
        env={"DISPLAY": display, "WAYLAND_DISPLAY": ""},
    )
    assert json.loads(command.done(done))["processed"] >= 1


def test_passwords_are_not_shown() -> None:
    assert Stream("rtsp://me:secret@box:554/1").name == "rtsp://box:554/1"


def test_a_recording_is_finished_although_a_view_fails(
    lossless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Collector, "close", lambda view: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session(lossless, command.file("int8", ".tflite"), record=str(tmp_path / "out" / "a.avi"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.avi"]


def test_bad_recording_target() -> None:
    done = command.call("camera", command.file("int8", ".tflite"), "--record", "x.gif")
    assert "the recording x.gif is none of" in command.refused(done)

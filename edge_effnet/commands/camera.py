"""``edge-effnet camera``: live predictions from a camera, video, stream or folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edge_effnet.answers import NO_LABEL, UNSURE, Rule
from edge_effnet.commands.command import Command
from edge_effnet.commands.options import (
    device_options,
    json_option,
    model_files_argument,
    preprocess_options,
    rule_options,
)
from edge_effnet.commands.terminal import lines_to, note, write, write_error, write_json
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import CameraError, UsageError
from edge_effnet.printable import line

if TYPE_CHECKING:
    from edge_effnet.apps.camera.controls import Controls
    from edge_effnet.apps.camera.views import View
    from edge_effnet.preprocess import Preprocess


@click.command(
    cls=Command,
    examples=[
        "camera out/efficientnet-lite0-int8.tflite --source 0",
        "camera out/*int8* --source door.mp4 --preview http --loop",
    ],
)
@model_files_argument(metavar="FILE...")
@option("--source", default="0")
@option("--wait")
@option("--preview", default="window")
@option("--threads", shown="all cores, divided among the copies")
@device_options()
@option("--copies", shown="2; 1 on one core, with --threads or --device")
@option("--quick")
@option("--top", default=5)
@rule_options
@option("--predictions", section="Answers")
@option("--on-answer", section="Answers")
@option("--cam")
@option("--side-by-side")
@option("--record")
@option("--screenshots", default=".")
@option("--pace", default="real")
@option("--fps", shown="its own")
@option("--loop")
@option("--give-up", shown="never")
@option("--max-frames")
@option("--seconds")
@option("--bind", section="Page (--preview http)", default="127.0.0.1")
@option("--port", section="Page (--preview http)", default=8088)
@option("--token", section="Page (--preview http)", shown="made up unless --bind is this machine")
@preprocess_options
@json_option
def camera(
    files: tuple[str, ...],
    source: str,
    wait: bool,
    preview: str,
    threads: int | None,
    device: str,
    device_options: dict[str, str],
    copies: int | None,
    top: int,
    cam: bool,
    predictions: str | None,
    side_by_side: bool,
    bind: str,
    port: int,
    token: str | None,
    preprocess: Preprocess | None,
    json_to: str | None,
    on_answer: str | None,
    rule: Rule,
    **rest: Any,
) -> None:
    """Run files on a camera, video, stream or folder, live.

    Each file answers with its best class, smoothed over frames; below --min-confidence it says
    "unsure". --on-answer passes every new answer to a program or URL.

    Keys in the window: space pause, n next model, b side by side, c heat map, s screenshot, q quit.
    """
    from edge_effnet.apps.camera import opencv
    from edge_effnet.apps.camera.answers.events import AnswerEvents
    from edge_effnet.apps.camera.answers.on_answer import action_of
    from edge_effnet.apps.camera.controls import Controls
    from edge_effnet.apps.camera.recording.video import check_target
    from edge_effnet.apps.camera.session import Session, Settings
    from edge_effnet.apps.camera.sources import source_of
    from edge_effnet.runtime.opening import open_model
    from edge_effnet.threads import default_threads

    if side_by_side and len(files) < 2:
        raise UsageError("--side-by-side compares files: give two or more")
    if rest["record"] is not None:
        check_target(rest["record"])
    if predictions == "-" and json_to == "-":
        raise UsageError("--predictions and --json cannot both go to stdout: give one a path")
    action = None if on_answer is None else action_of(on_answer)
    opencv.load()
    where = source_of(source)
    if preview == "window":
        opencv.check_window()
    if copies is None:
        copies = 1 if threads or device != "cpu" else min(default_threads(), 2)
    if threads is None:
        threads = max(default_threads() // copies, 1)
    opened = [
        tuple(
            open_model(
                file,
                threads=threads,
                preprocess=preprocess,
                device=device,
                device_options=device_options,
            )
            for _ in range(copies)
        )
        for file in files
    ]
    if action is not None:
        for each in opened:
            action.check_labels(each[0].card.labels)
    try:
        where.open()
    except CameraError as error:
        if not (wait and where.live):
            raise
        note(f"waiting: {error}")
    controls = Controls(len(files), side_by_side=side_by_side, activation=cam)
    views: list[View] = _views(preview, controls, list(files), bind, port, token)
    quiet = "-" in (json_to, predictions)
    with lines_to(predictions) as write_line:
        settings = Settings(top=top, rule=rule, **rest)
        events = None if action is None else AnswerEvents(action, note)
        session = Session(where, opened, controls, views, note, settings, write_line, events)
        try:
            summary = session.run()
        except CameraError:  # the camera was lost: report the summary up to then
            if session.inference.processed:
                _report({**session.summary(), "ended": "lost"}, json_to, quiet)
            raise
    _report(summary, json_to, quiet)


def _report(summary: dict[str, Any], json_to: str | None, quiet: bool) -> None:
    """Write the summary as JSON, and as text: to stdout, or to stderr if stdout gets JSON."""
    if not quiet:
        write(_lines(summary))
    elif json_to != "-":
        write_error(_lines(summary).rstrip())
    if json_to:
        write_json(summary, json_to)


def _views(
    preview: str, controls: Controls, paths: list[str], bind: str, port: int, token: str | None
) -> list[View]:
    if preview == "window":
        from edge_effnet.apps.camera.views import Window

        return [Window(controls)]
    if preview == "http":
        from edge_effnet.apps.preview.server import Page

        page = Page(controls, paths, bind, port, token)
        for sentence in page.directions:
            note(sentence)
        return [page]
    return []


def _lines(summary: dict[str, Any]) -> str:
    """The summary as text."""
    lines = [
        f"{summary['source']}: {summary['processed']} of {summary['captured']} frames inferred, "
        f"{summary['dropped']} dropped, in {summary['seconds']:.1f} s ({summary['ended']})",
        f"  camera {summary['camera_fps']:.1f} fps, inference {summary['inference_fps']:.1f} fps, "
        f"delay {summary['delay_ms']['median']:.1f} ms",
    ]
    for model in summary["models"]:
        counts = [f"{label} ({count})" for label, count in model["answers"].items()]
        word = NO_LABEL if model["multi_label"] else UNSURE
        counts += [f"{word} ({model['unsure']})"] if model["unsure"] else []
        median = model["inference_ms"]["median"]
        lines.append(f"  {model['file']}: {median:.2f} ms; {', '.join(counts) or 'not run'}")
    if "agreement" in summary:
        lines.append(f"  same top-1 in {summary['agreement']:.1%} of the frames")
    if "on_answer" in summary:
        action = summary["on_answer"]
        lines.append(f"  on-answer {action['action']}: {action['done']} done, "
                     f"{action['failed']} failed")  # fmt: skip
    if summary.get("recording"):
        lines.append(f"  recording: {summary['recording']}")
    return "".join(f"{line(text)}\n" for text in lines)

"""``edge-effnet camera``: live predictions from a camera, video, stream or folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edge_effnet.commands.options import (
    json_option,
    model_files_argument,
    preprocess_of,
    preprocess_options,
)
from edge_effnet.commands.terminal import lines_to, note, write, write_json
from edge_effnet.errors import CameraError, UsageError

if TYPE_CHECKING:
    from edge_effnet.apps.camera.controls import Controls
    from edge_effnet.apps.camera.views import View

_POSITIVE = click.FloatRange(0, min_open=True)


@click.command()
@model_files_argument(metavar="FILE...")
@click.option(
    "--source",
    default="0",
    show_default=True,
    metavar="N|VIDEO|URL|DIR",
    help="Camera number, video, stream or folder of images.",
)
@click.option("--wait", is_flag=True, help="Wait for a camera or stream that is not there yet.")
@click.option(
    "--preview",
    type=click.Choice(["window", "http", "none"]),
    default="window",
    show_default=True,
    help="Show it in a window, on a web page, or not at all.",
)
@click.option("--threads", type=click.IntRange(1), help="Of each copy [one a core, for all].")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Copies of each model that take frames in turns: more results a second, each later "
    "[2; 1 on one core or with --threads].",
)
@click.option("--quick", is_flag=True, help="Resize frames quickly, not exactly as photos are.")
@click.option("--top", type=click.IntRange(1, 10), default=5, show_default=True)
@click.option("--cam", is_flag=True, help="Start with the class activation map (heat layer).")
@click.option("--side-by-side", is_flag=True, help="Run all FILES on every frame and compare.")
@click.option("--record", metavar="FILE", help="Write what is shown to a .mp4, .avi or .mkv.")
@click.option(
    "--predictions",
    metavar="PATH|-",
    help="Append one JSON line per frame and FILE to PATH, or write it to stdout for -.",
)
@click.option("--screenshots", default=".", metavar="DIR", show_default=True)
@click.option(
    "--pace",
    type=click.Choice(["real", "fast"]),
    default="real",
    show_default=True,
    help="Play files at their own rate, or infer every frame as fast as it goes.",
)
@click.option("--fps", type=_POSITIVE, help="Rate of a file or folder instead of its own.")
@click.option("--loop", is_flag=True, help="Start a file or folder again at its end.")
@click.option("--give-up", type=_POSITIVE, metavar="SECONDS", help="For a lost camera [never].")
@click.option("--max-frames", type=click.IntRange(1), help="Stop after so many inferences.")
@click.option("--seconds", type=_POSITIVE, help="Stop after so many seconds.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the page.")
@click.option("--port", type=click.IntRange(0, 65535), default=8088, show_default=True)
@click.option("--token", help="Of the page [one is made unless --host is this machine].")
@preprocess_options
@json_option
def camera(
    files: tuple[str, ...],
    source: str,
    wait: bool,
    preview: str,
    threads: int | None,
    workers: int | None,
    top: int,
    cam: bool,
    predictions: str | None,
    side_by_side: bool,
    host: str,
    port: int,
    token: str | None,
    size: int | None,
    crop: float | None,
    mean: str | None,
    std: str | None,
    json_to: str | None,
    **rest: Any,
) -> None:
    """Run exported FILES on a camera, video, stream or folder, live.

    Keys in the window: space pause, n next model, b side by side, c heat map, s screenshot, q quit.
    """
    from edge_effnet.apps.camera import opencv
    from edge_effnet.apps.camera.controls import Controls
    from edge_effnet.apps.camera.recording.video import check_target
    from edge_effnet.apps.camera.session import Session, Settings
    from edge_effnet.apps.camera.sources import source_of
    from edge_effnet.runtime.opening import default_threads, open_model

    if side_by_side and len(files) < 2:
        raise UsageError("--side-by-side compares files: give two or more")
    if rest["record"] is not None:
        check_target(rest["record"])
    if predictions == "-" and json_to == "-":
        raise UsageError("--predictions and --json cannot both go to stdout: give one a path")
    described = preprocess_of(size, crop, mean, std)
    opencv.load()
    where = source_of(source)
    if preview == "window":
        opencv.check_window()
    if workers is None:
        workers = 1 if threads else min(default_threads(), 2)
    if threads is None:
        threads = max(default_threads() // workers, 1)
    opened = [
        tuple(open_model(file, threads=threads, preprocess=described) for _ in range(workers))
        for file in files
    ]
    try:
        where.open()
    except CameraError as error:
        if not (wait and where.live):
            raise
        note(f"waiting: {error}")
    controls = Controls(len(files), side_by_side=side_by_side, activation=cam)
    views: list[View] = _views(preview, controls, list(files), host, port, token)
    quiet = "-" in (json_to, predictions)
    with lines_to(predictions) as write_line:
        settings = Settings(top=top, **rest)
        session = Session(where, opened, controls, views, note, settings, write_line)
        try:
            summary = session.run()
        except CameraError:  # given up on a lost camera: the summary until then is reported
            if session.inference.processed:
                _report({**session.summary(), "ended": "lost"}, json_to, quiet)
            raise
    _report(summary, json_to, quiet)


def _report(summary: dict[str, Any], json_to: str | None, quiet: bool) -> None:
    """The summary as JSON, and for people on stdout, or on stderr where stdout holds JSON lines."""
    if not quiet:
        write(_lines(summary))
    elif json_to != "-":
        click.echo(_lines(summary), err=True, nl=False)
    if json_to:
        write_json(summary, json_to)


def _views(
    preview: str, controls: Controls, paths: list[str], host: str, port: int, token: str | None
) -> list[View]:
    if preview == "window":
        from edge_effnet.apps.camera.views import Window

        return [Window(controls)]
    if preview == "http":
        from edge_effnet.apps.preview.server import Page

        page = Page(controls, paths, host, port, token)
        note(f"preview: {page.address}")
        return [page]
    return []


def _lines(summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [
        f"{summary['source']}: {summary['processed']} of {summary['captured']} frames inferred, "
        f"{summary['dropped']} dropped, in {summary['seconds']:.1f} s ({summary['ended']})",
        f"  camera {summary['camera_fps']:.1f} fps, inference {summary['inference_fps']:.1f} fps, "
        f"delay {summary['delay_ms']['median']:.1f} ms",
    ]
    for model in summary["models"]:
        answers = ", ".join(f"{label} ({count})" for label, count in model["answers"].items())
        lines.append(
            f"  {model['file']}: {model['inference_ms']['median']:.2f} ms; {answers or 'not run'}"
        )
    if "agreement" in summary:
        lines.append(f"  same answer in {summary['agreement']:.1%} of the frames")
    if summary.get("recording"):
        lines.append(f"  recording: {summary['recording']}")
    return "\n".join(lines) + "\n"

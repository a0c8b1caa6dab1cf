"""One word, one meaning: every option of every command is in one table."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module

import click
import pytest

from edge_effnet import names
from edge_effnet.apps.bundle.boards import BOARDS
from edge_effnet.cli import cli
from edge_effnet.commands import COMMANDS, renamed
from edge_effnet.commands.command import PROGRAM, Command
from edge_effnet.commands.vocabulary import WORDS, Option
from edge_effnet.preprocess import CROP_MODES
from support.command import call, done, refused
from support.pages import parse, words


def every_command() -> Iterator[tuple[str, Command]]:
    """Each command and subcommand with its name, as typed."""
    for name, (module, function) in COMMANDS.items():
        command = getattr(import_module(f"edge_effnet.commands.{module}"), function)
        yield name, command
        if isinstance(command, click.Group):
            for sub, each in command.commands.items():
                assert isinstance(each, Command)
                yield f"{name} {sub}", each


NAMES = [name for name, _ in every_command()]
ALL = dict(every_command())
USES = [
    (name, option)
    for name, command in ALL.items()
    for option in command.params
    if isinstance(option, click.Option)
]


def spelled(option: click.Option) -> str:
    """The option's key of `WORDS`: what is typed, and a part of its own after a colon."""
    assert isinstance(option, Option)
    assert option.word.partition(":")[0] == "/".join((*option.opts, *option.secondary_opts))
    return option.word


def test_every_option_is_a_word_with_one_meaning() -> None:
    for name, option in USES:
        assert isinstance(option, Option), (name, option.opts)
        word = WORDS[spelled(option)]
        assert option.help == word.help, (name, option.opts)
        assert option.metavar == word.metavar, (name, option.opts)
        assert option.is_flag == word.flag
        if word.type is not None:
            assert option.type is word.type, (name, option.opts)
        else:
            assert option.type.name == ("boolean" if word.flag else "text"), (name, option.opts)


def test_no_word_is_unused_and_no_two_mean_the_same() -> None:
    assert {spelled(option) for _, option in USES} == set(WORDS)
    sentences = [word.help for word in WORDS.values()]
    assert len(set(sentences)) == len(sentences)
    for word in WORDS.values():
        assert word.help.endswith("."), word
        assert not re.search(r"\[default|Default", word.help), word


def test_parameters_are_named_after_their_options() -> None:
    """The same option always reaches Python under the same name."""
    found: dict[str, set[str | None]] = {}
    for _, option in USES:
        found.setdefault(spelled(option), set()).add(option.name)
    assert all(len(parameters) == 1 for parameters in found.values()), found


def test_threads_are_all_cores_but_one_for_latency() -> None:
    shown = {
        name: option.shown
        for name, option in USES
        if isinstance(option, Option) and option.opts == ["--threads"]
    }
    assert shown["evaluate"] == shown["export"] == shown["classify"] == "all cores"
    assert shown["benchmark"] == shown["compare"] == shown["sweep"] == shown["profile"]
    assert shown["benchmark"] == "1, for latency"
    assert all(shown.values())


def test_closed_choices_are_the_registries() -> None:
    assert choices("--board") == tuple(BOARDS)
    assert choices("--crop-mode") == tuple(CROP_MODES)
    assert choices("--quantizer")[0] == "edge-effnet"
    assert set(choices("--precision")) == set(names.Precision.__args__)  # type: ignore[attr-defined]


def choices(name: str) -> tuple[str, ...]:
    """What an option of `WORDS` may be."""
    kind = WORDS[name].type
    assert isinstance(kind, click.Choice)
    return tuple(kind.choices)


# Old names


OLD = [
    (command, old, now) for command, pair in renamed.OPTIONS.items() for old, now in pair.items()
]


@pytest.mark.parametrize(("command", "old", "now"), OLD, ids=[f"{c} {o}" for c, o, _ in OLD])
def test_an_old_option_is_answered_with_its_name_of_today(command: str, old: str, now: str) -> None:
    options = [name for each in ALL[command].params for name in each.opts]
    assert old not in options
    assert now in options
    message = refused(call(*command.split(), old, "x"))
    assert message == f"{old} is now {now}; see '{PROGRAM} {command} --help'"
    assert old not in options_in(done(call(*command.split(), "--help")))


def options_in(text: str) -> set[str]:
    """The options that a help lists."""
    return set(re.findall(r"^  (--[\w-]+)", text, re.MULTILINE))


def test_an_old_command_is_answered_with_its_name_of_today() -> None:
    assert (
        refused(call("fit", "--budget-ms", 5)) == "'fit' is now 'scale'; see 'edge-effnet --help'"
    )
    assert set(renamed.COMMANDS.values()) <= set(COMMANDS)
    assert not set(renamed.COMMANDS) & set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("export", "lite0", "--formts", "onnx"),
            "no such option --formts, did you mean --formats?",
        ),
        (("export", "lite0", "--xyz"), "no such option --xyz; see"),
        (("bench", "vendor"), "no such command 'vendor', did you mean 'vendors'?"),
        (("bench", "vendors", "--roundz"), "no such option --roundz, did you mean --rounds?"),
        (("--versoin",), "no such option --versoin, did you mean --version?"),
        (("export", "lite0", "--recipe", "bst"), "'bst' is not one of 'default', 'best', 'fast'"),
        (("scale", "--budget-ms", "5"), "Missing option '--latency-model'"),
        (("export", "lite0", "--out"), "requires an argument; see 'edge-effnet export --help'"),
        ((__file__,), f"did you mean 'export {__file__}' or 'info {__file__}'?"),
    ],
)
def test_typing_errors(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(call(*arguments))


# Help


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = done(call(*name.split(), "--help"))
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.partition("\n\n")[2].partition("\n\n")[0]
    examples = ALL[name].examples
    assert len(examples) == 2
    for example in examples:
        assert f"\n  {PROGRAM} {example}\n" in text
        assert example.startswith(name)
        (command,) = words(example)
        parse(command)
        if isinstance(ALL[name], click.Group):
            continue
        arguments = shlex.split(example)[len(name.split()) :]
        ALL[name].make_context(name, arguments).close()


def test_a_group_alone_shows_its_help() -> None:
    assert done(call("bench")) == done(call("bench", "--help"))


def test_the_help_of_all_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = done(call("--help")).splitlines()
    assert max(map(len, lines)) <= 80
    for name in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith("."), "a summary is one sentence in one line"
        assert "..." not in line
    assert isinstance(cli, Command)
    for example in cli.examples:
        parse(words(example)[0])

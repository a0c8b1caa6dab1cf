"""The documentation site: complete references, and links that lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

import edge_effnet
from edge_effnet.cli import cli
from support import ROOT
from support.pages import PAGES

#: Pages outside the site, whose links 'make docs' does not check.
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "site" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = _HEADING.findall(re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL))
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("name", OUTSIDE)
def test_links_lead_somewhere(name: str) -> None:
    for target, anchor in _LINK.findall((ROOT / name).read_text("utf-8")):
        page = ROOT / (target or name)
        assert page.exists(), f"{name}: {target}"
        assert not anchor or anchor in anchors(page), f"{name}: {target}#{anchor}"


def test_pages_are_linked_and_not_quoted() -> None:
    """A page that another one names can be followed."""
    for page in PAGES:
        quoted = re.findall(r"`docs/[\w-]+\.md`", page.read_text("utf-8"))
        assert not quoted, f"{page.name}: link instead of {', '.join(quoted)}"


def test_modules_of_the_glossary_exist() -> None:
    places = ("", "calibration/", "benchmarks/prediction/")
    for line in (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines():
        module = re.search(r"\| `([\w/]+)` \|$", line)
        paths = [ROOT / f"{place}{module[1]}" for place in places] if module else []
        assert not paths or any(
            path.is_dir() or path.with_suffix(".py").is_file() for path in paths
        ), line


def test_the_python_reference_has_every_public_name_and_no_other() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    named = re.findall(r"^::: edge_effnet\.([\w.]+)$", text, re.MULTILINE)
    assert len(named) == text.count(":::")
    errors = {name for name in edge_effnet.__all__ if name.endswith(("Error", "Extra"))}
    public = {name for name in named if "." not in name and name != "errors"}
    assert public == set(edge_effnet.__all__) - errors - {"__version__"}
    assert "errors" in named
    for module, _, name in (name.rpartition(".") for name in named if "." in name):
        spec = importlib.util.find_spec(f"edge_effnet.{module}")
        assert spec is not None
        assert spec.origin is not None
        tree = ast.parse(
            Path(spec.origin).read_text("utf-8")
        )  # the frameworks take seconds to import
        assert name in {getattr(node, "name", "") for node in tree.body}, f"{module}.{name}"


def test_every_command_and_option_is_in_the_command_reference(hooks: ModuleType) -> None:
    reference = "\n".join(hooks.command_reference())
    root = click.Context(cli)
    pending = [((name,), cli.get_command(root, name)) for name in cli.list_commands(root)]
    for path, command in pending:
        assert command is not None
        assert f"{{ #{'-'.join(path)} }}" in reference
        if isinstance(command, click.Group):
            pending += [((*path, name), child) for name, child in command.commands.items()]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[0] in reference, f"{path}: {option.opts[0]}"


def test_help_text_is_escaped(hooks: ModuleType) -> None:
    option = click.Option(["--size"], metavar="A|B", help="A <b> * of --mean, a|b.")
    context = click.Context(click.Command("x", params=[option]))
    assert hooks._option(option, context) == (r"| `--size` `A|B` | A \<b\> \* of `--mean`, a\|b. |")

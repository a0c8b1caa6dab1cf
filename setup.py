"""Which packages there are, and the README with links that work away from the repository.

The packages are edge_effnet and, as its subpackages, the four folders beside it.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("apps", "benchmarks", "calibration", "converters")
PROJECT = "edge-effnet/edge-effnet"
PICTURES = f"https://raw.githubusercontent.com/{PROJECT}/main/"
PAGES = f"https://github.com/{PROJECT}/blob/main/"


def readme() -> str:
    """README.md with absolute addresses: a package index has neither its pictures nor its pages."""
    text = Path(__file__).with_name("README.md").read_text("utf-8")
    relative = r"(?![a-z]+:|#)"
    text = re.sub(rf'(!\[[^]]*\]\(|<img [^>]*src="){relative}', rf"\g<1>{PICTURES}", text)
    return re.sub(rf"((?<!!)\[[^][]*\]\(|<a [^>]*href=\"){relative}", rf"\g<1>{PAGES}", text)


setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    packages=[
        *find_packages(include=["edge_effnet", "edge_effnet.*"]),
        *(
            f"edge_effnet.{package}"
            for folder in FOLDERS
            for package in find_packages(include=[folder, f"{folder}.*"])
        ),
    ],
    package_dir={f"edge_effnet.{folder}": folder for folder in FOLDERS},
)

"""Which packages there are, the README with absolute links, and the wheel's bill of materials.

The packages are edge_effnet and, as its subpackages, the four folders beside it.
"""

import json
import re
import uuid
from pathlib import Path

from setuptools import find_packages, setup

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

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


def locked() -> dict[str, tuple[str, list[str]]]:
    """Tested version and sha256 digests of each package in the lock of the development tools."""
    lock = Path(__file__).with_name("requirements") / "dev.lock"
    text = lock.read_text("utf-8") if lock.exists() else ""
    entries = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)(.*(?:\n    .*)*)", text, re.M)
    return {
        re.sub(r"[-_.]+", "-", name).lower(): (version, re.findall(r"sha256:(\w+)", rest))
        for name, version, rest in entries
    }


def bill_of_materials(distribution: object) -> str:
    """CycloneDX 1.6: this package, and each package that it or an extra asks for.

    The same source gives the same bytes: there is no date, and the serial number is a digest.
    """
    name, version = distribution.get_name(), distribution.get_version()
    this, known = f"pkg:pypi/{name}@{version}", locked()
    asked = {None: distribution.install_requires, **distribution.extras_require}
    scopes: dict[str, str] = {}
    for extra, requirements in asked.items():
        for requirement in requirements:
            other = re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()
            if other != name:
                scopes.setdefault(other, "optional" if extra else "required")
    components = []
    for other, scope in sorted(scopes.items()):
        tested, digests = known.get(other, (None, []))
        purl = f"pkg:pypi/{other}" + (f"@{tested}" if tested else "")
        component = {"type": "library", "bom-ref": purl, "name": other, "scope": scope}
        component |= {"version": tested, "purl": purl} if tested else {"purl": purl}
        if len(digests) == 1:  # a hash is of the component's only file
            component["hashes"] = [{"alg": "SHA-256", "content": digests[0]}]
        components.append(component)
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": this,
                "name": name,
                "version": version,
                "purl": this,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": this, "dependsOn": [component["bom-ref"] for component in components]}
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return json.dumps({"serialNumber": f"urn:uuid:{serial}", **content}, indent=1) + "\n"


class Wheel(bdist_wheel):
    """The wheel with its bill of materials, in the place of PEP 770."""

    def write_wheelfile(self, wheelfile_base: str, *arguments: object, **options: object) -> None:
        """Write the folder dist-info as usual, and add the bill of materials."""
        super().write_wheelfile(wheelfile_base, *arguments, **options)
        folder = Path(wheelfile_base) / "sboms"
        folder.mkdir(exist_ok=True)
        text = bill_of_materials(self.distribution)
        (folder / "edge-effnet.cdx.json").write_text(text, "utf-8")


setup(
    cmdclass={"bdist_wheel": Wheel},
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

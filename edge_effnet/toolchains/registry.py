"""Toolchains: the packages of each environment, and the Python versions that they support."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Toolchain:
    """The packages of one accelerator's toolchain.

    Attributes:
        name: Name of the environment's folder.
        title: What the packages are, for messages.
        packages: Arguments of ``pip install``; versions are fixed.
        pythons: Minor versions of Python 3 with wheels of all packages, best first.
        megabytes: Size of the environment.
        platform: The only ``sys.platform`` and machines that it runs on.
        commands: Programs that must be on PATH, each with the line that installs it on Debian.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    pythons: tuple[int, ...]
    megabytes: int
    platform: tuple[str, tuple[str, ...]] = ("linux", ("x86_64",))
    commands: tuple[tuple[str, str], ...] = ()

    def version(self, package: str) -> str:
        """The fixed version of one of the packages."""
        return next(
            each.split("==")[1] for each in self.packages if each.startswith(f"{package}==")
        )


QNN = Toolchain(
    name="qnn",
    title="Qualcomm's HTP simulator",
    packages=(
        "onnxruntime-qnn==2.7.0",
        "onnxruntime==1.32.0",
        "onnx==1.23.2",
        *("pillow", "safetensors", "click", "rich"),
    ),
    pythons=(11, 12, 13),
    megabytes=570,
)
TOSA = Toolchain(
    name="tosa",
    title="Arm's TOSA reference model",
    packages=("tosa-tools==2026.8.0", "tosa-converter-for-tflite==2026.2.0", "numpy<2.2"),
    pythons=(11, 10, 12, 13),
    megabytes=360,
)
RKNN = Toolchain(
    name="rknn",
    title="Rockchip's RKNN toolkit",
    packages=("rknn-toolkit2==2.5.0", "setuptools<81"),
    pythons=(11, 10, 12),
    megabytes=5_600,
    platform=("linux", ("x86_64", "aarch64")),
)
IMX500 = Toolchain(
    name="imx500",
    title="Sony's toolchain for the IMX500",
    packages=(
        "model-compression-toolkit==2.5.1",
        "imx500-converter[pt]==3.19.2",
        "torch==2.13.0",
        "setuptools<81",
    ),
    pythons=(11, 10),
    megabytes=1_770,
    commands=(("java", "apt-get install openjdk-17-jre-headless"),),
)

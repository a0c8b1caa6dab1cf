"""Which packages there are: edge_effnet, and the four folders beside it as its subpackages."""

from setuptools import find_packages, setup

FOLDERS = ("apps", "benchmarks", "calibration", "converters")

setup(
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

"""A Dask scheduler over TLS, with the certificates of Dask's configuration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from edge_effnet.benchmarks.sweep.executors import Cluster
from edge_effnet.errors import DeviceError

CONNECT = """
import sys
from pathlib import Path
from edge_effnet.benchmarks.sweep.executors import Cluster
cluster = Cluster(sys.argv[1], Path(sys.argv[2]))
print(cluster.address)
cluster.close()
"""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of a TLS scheduler with a worker, and the environment with its certificates."""
    if shutil.which("openssl") is None:
        pytest.skip("makes certificates with openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=edge-effnet", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    prefix = "DASK_DISTRIBUTED__COMM__"
    env = {**os.environ, f"{prefix}TLS__CA_FILE": str(certificate)}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        env[f"{prefix}TLS__{role}__CERT"] = str(certificate)
        env[f"{prefix}TLS__{role}__KEY"] = str(key)
    file = folder / "scheduler.json"
    module = [sys.executable, "-m", "distributed.cli.dask_"]
    processes = []
    with open(folder / "log.txt", "wb") as log:

        def start(name: str, *options: str) -> None:
            words = [*module[:-1], f"{module[-1]}{name}", *options, "--no-dashboard"]
            processes.append(subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, env=env))

        try:
            start("scheduler", "--protocol", "tls", "--port", "0", "--scheduler-file", str(file))
            end = time.monotonic() + 300
            while not file.exists() or b"address" not in file.read_bytes():
                assert time.monotonic() < end, (folder / "log.txt").read_text()
                time.sleep(0.05)
            address = json.loads(file.read_text())["address"]
            start("worker", address, "--no-nanny", "--nthreads", "1")
            yield address, env
        finally:
            for process in processes:
                process.kill()
                process.wait()


@pytest.mark.slow
def test_certificates_of_dasks_configuration(
    secured: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, env = secured
    assert address.startswith("tls://")
    end = time.monotonic() + 300
    while True:  # until the worker is there
        command = [sys.executable, "-c", CONNECT, address, str(tmp_path)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)
        if done.returncode == 0 or time.monotonic() > end:
            break
    assert done.stdout.strip() == address, done.stderr


def test_without_certificates(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"distributed\.comm\.tls\.ca-file"):
        Cluster("tls://127.0.0.1:9", tmp_path)

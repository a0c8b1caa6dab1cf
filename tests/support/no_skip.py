"""With EDGE_EFFNET_NO_SKIP set, as CI sets it, a test that is skipped fails and says why."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

NO_SKIP = bool(os.environ.get("EDGE_EFFNET_NO_SKIP"))
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Each phase of a test."""
    report = yield
    return failed(report) if report.skipped and not hasattr(report, "wasxfail") else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole file, as `pytest.importorskip` leaves it out."""
    report = yield
    return failed(report) if report.skipped else report


def failed(report: Report) -> Report:
    """A skipped report as a failure, if skips are failures."""
    if NO_SKIP:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"EDGE_EFFNET_NO_SKIP is set, and this did not run: {reason}"
    return report

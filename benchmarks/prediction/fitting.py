"""Fit of a latency model's coefficients to times of micro-benchmarks and whole networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.prediction.features import layer_features
from edge_effnet.benchmarks.prediction.latency_model import RuntimeModel, weighted_sum
from edge_effnet.graph import Graph

_FOLDS = 5
_REWEIGHTINGS = 4
_TOLERANCE = 0.03  # relative error above which a micro-benchmark gets less weight
_RIDGE = 1e-4  # ridge penalty for coefficients that the micro-benchmarks do not determine

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """Coefficients in ms by feature; ``error``: median and 95th percentile of relative errors."""

    coefficients: Mapping[str, float]
    error: tuple[float, float]


def fit_runtime(
    format_name: str,
    precision: str,
    times: Mapping[str, float],
    micro_benchmarks: Mapping[str, Graph],
    networks: Mapping[str, Graph],
) -> RuntimeModel:
    """Latency model of one runtime and precision; the caller adds the runtime's name and version.

    Args:
        format_name: Format of the files.
        precision: Precision of the files.
        times: Median milliseconds of every micro-benchmark and network, by name.
        micro_benchmarks: Graphs of the micro-benchmarks.
        networks: Graphs of whole networks, which determine the scale.

    Returns:
        The model with coefficients rounded to 6 digits.
    """
    rows = [layer_features(graph, precision) for graph in micro_benchmarks.values()]
    fit = fit_coefficients(rows, np.array([times[key] for key in micro_benchmarks]))
    ratios = [
        times[key] / weighted_sum(fit.coefficients, layer_features(graph, precision))
        for key, graph in networks.items()
    ]
    rounded = {name: float(f"{ms:.6g}") for name, ms in fit.coefficients.items() if ms > 0}
    scale = round(float(np.median(ratios)), 4)
    return RuntimeModel(
        format_name, precision, "", "", "", rounded, scale, len(micro_benchmarks), fit.error
    )


def fit_coefficients(rows: Sequence[Mapping[str, float]], times: Floats) -> Fit:
    """Non-negative coefficients that minimise the relative error of ``times``.

    Args:
        rows: Features of each micro-benchmark.
        times: Milliseconds of each micro-benchmark, float64 [rows].

    Returns:
        The coefficients, with the relative error of 5-fold cross-validation.
    """
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    coefficients = _robust_least_squares(matrix, times)
    fold = np.arange(len(times)) % _FOLDS
    predicted = np.empty(len(times))
    for number in range(_FOLDS):
        train, test = fold != number, fold == number
        predicted[test] = matrix[test] @ _robust_least_squares(matrix[train], times[train])
    errors = np.abs(predicted / times - 1)
    return Fit(
        dict(zip(names, map(float, coefficients), strict=True)),
        (round(float(np.median(errors)), 4), round(float(np.quantile(errors, 0.95)), 4)),
    )


def _robust_least_squares(matrix: Floats, times: Floats) -> Floats:
    """Non-negative least squares of the relative error, iteratively reweighted against outliers."""
    relative = matrix / times[:, None]
    size = np.maximum(np.sqrt((relative**2).mean(axis=0)), 1e-12)
    relative = relative / size
    weight = np.ones(len(times))
    for _ in range(_REWEIGHTINGS):
        rows = relative * weight[:, None]
        gram = rows.T @ rows + _RIDGE * np.eye(rows.shape[1])
        coefficients = non_negative_least_squares(gram, rows.T @ weight)
        error = np.abs(relative @ coefficients - 1)
        weight = np.sqrt(_TOLERANCE / np.maximum(error, _TOLERANCE))
    return np.asarray(coefficients / size)


def non_negative_least_squares(gram: Floats, target: Floats) -> Floats:
    """The x >= 0 that minimises x'Gx / 2 - t'x; active-set method (Lawson & Hanson 1974, ch. 23).

    G is ``gram``, [n, n]; t is ``target``, [n]; n is the number of coefficients.
    """
    x = np.zeros(len(target))
    free = np.zeros(len(target), bool)
    for _ in range(3 * len(target)):
        gradient = np.where(free, -np.inf, target - gram @ x)
        index = int(np.argmax(gradient))
        if gradient[index] <= 1e-9:
            break
        free[index] = True
        while True:
            best = np.zeros(len(target))
            best[free] = np.linalg.solve(gram[np.ix_(free, free)], target[free])
            below = free & (best <= 0)
            if not below.any():
                x = best
                break
            step = float((x[below] / (x[below] - best[below])).min())
            x = np.maximum(x + step * (best - x), 0.0)
            free &= x > 1e-15
            x[~free] = 0.0
    return x

"""pareto_front: the points that no other point beats on both axes."""

from __future__ import annotations

from operator import itemgetter

from edge_effnet.benchmarks.pareto import pareto_front


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(5.0, 89.0), (2.0, 88.0), (3.0, 87.0), (2.0, 86.0), (9.0, 89.0)]
    assert pareto_front(points, itemgetter(0), itemgetter(1)) == [(2.0, 88.0), (5.0, 89.0)]

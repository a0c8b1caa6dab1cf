"""Small networks, their plans and their files in each precision."""

from __future__ import annotations

import pytest

from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.converters.formats.tflite.writer import write
from edge_effnet.model import Model
from support import tflite_models as small
from support.tflite_models import MODELS, int8_file


@pytest.fixture(scope="session", params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]()


@pytest.fixture(scope="session")
def plan(model: Model) -> QuantPlan:
    return small.min_max_plan(model, small.photos(6))


@pytest.fixture(scope="session")
def files(model: Model, plan: QuantPlan) -> dict[str, bytes]:
    return {
        "fp32": write(model, None, small.card_of(model)),
        "fp16": write(model, None, small.card_of(model, precision="fp16")),
        "int8": int8_file(model, plan),
    }

"""A plan -> networks that compute in float, with its integer weights."""

from __future__ import annotations

from dataclasses import replace

from edge_effnet.calibration.plan import Plan, QuantPlan, WeightOnlyPlan
from edge_effnet.graph import Conv
from edge_effnet.model import Model


def weights_only(model: Model, plan: Plan, *, depthwise: bool) -> tuple[Model, WeightOnlyPlan]:
    """``model`` with the plan's biases, and the integer weights of ``plan`` alone.

    Without ``depthwise`` the depthwise layers stay float altogether. The plan's biases make up for
    the rounded weights: Lite0 kept 28.4 dB of its logits with them where its own gave 20.6 dB. Best
    is a plan of `calibration.weights.weight_only`; one with grids is fitted to rounded inputs,
    which these networks do not have.
    """
    layers, weights = {}, dict(model.weights)
    for name, layer in plan.layers.items():
        node = model.graph.by_name[name]
        if isinstance(node, Conv) and node.depthwise and not depthwise:
            continue
        layers[name] = layer
        bias = layer.bias.astype("float32")
        if isinstance(plan, QuantPlan) and node.inputs[0] in plan.quant_params:
            bias = layer.float_bias(plan.quant_params[node.inputs[0]].scale)
        weights[f"{name}.bias"] = bias
    return replace(model, weights=weights), WeightOnlyPlan(layers, plan.recipe, plan.record)

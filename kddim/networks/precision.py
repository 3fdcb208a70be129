"""Precision of a network that is described by a configuration."""

import copy
from typing import Any

import keras

_PLAIN = "float32"


def with_policy(config: dict[str, Any], policy: str) -> dict[str, Any]:
    """Return the configuration of a network whose layers compute in another precision.

    Inputs and the layers that give the outputs stay in float32, as in
    `kddim.networks.residual_unet`. In a network of mixed precision, all layers of float32 stay
    so.

    Args:
        config: Serialised Keras model. Only a functional model is converted; the layers of others
            know their precision alone.
        policy: Dtype policy, such as "mixed_bfloat16".

    Raises:
        ValueError: If there is no such policy.
    """
    keras.dtype_policies.get(policy)
    config = copy.deepcopy(config)
    inside: Any = config.get("config")
    layers = inside.get("layers") if isinstance(inside, dict) else None
    if not isinstance(layers, list):
        return config
    kept = set(_names(inside.get("output_layers")))
    inner = [layer for layer in layers if layer.get("name") not in kept and _policy(layer)]
    mixed = any(_policy(layer) != _PLAIN for layer in inner)
    for layer in inner:
        if not mixed or _policy(layer) != _PLAIN:
            layer["config"]["dtype"]["config"]["name"] = policy
    return config


def _policy(layer: dict[str, Any]) -> str | None:
    """Return the name of the policy of a layer. Inputs have a plain type, and give None."""
    dtype = layer.get("config", {}).get("dtype")
    if isinstance(dtype, dict) and dtype.get("class_name") == "DTypePolicy":
        return dtype["config"]["name"]
    return None


def _names(nodes: Any) -> list[str]:
    """Return the names in a list such as `["conv2d", 0, 0]`, which may hold such lists."""
    if isinstance(nodes, str):
        return [nodes]
    return [name for node in nodes or () for name in _names(node) if not isinstance(node, int)]

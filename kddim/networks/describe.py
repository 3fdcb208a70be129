"""What a network is, in a line."""

import keras

from kddim.networks.layers import SpatialAttention

NORMALIZATIONS = {
    keras.layers.BatchNormalization: "batch normalisation",
    keras.layers.GroupNormalization: "group normalisation",
}


def describe_network(network: keras.Model) -> str:
    """Its name, how it normalises, and where kddim's self-attention stands.

    Args:
        network: any that was built.

    Returns:
        Such as `residual_unet, group normalisation, self-attention at 16x16, 8x8`.
    """
    layers = network._flatten_layers(include_self=False)
    kinds = {type(layer) for layer in layers}
    found = [network.name] + [words for kind, words in NORMALIZATIONS.items() if kind in kinds]
    shapes = [
        layer.get_build_config()["input_shape"][0]
        for layer in layers
        if isinstance(layer, SpatialAttention)
    ]
    sizes = dict.fromkeys(f"{height}x{width}" for _, height, width, _ in shapes)
    return ", ".join(found) + (f", self-attention at {', '.join(sizes)}" if sizes else "")

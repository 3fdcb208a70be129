"""Description of a network in one line."""

import keras

from kddim.networks.layers import SpatialAttention

NORMALIZATIONS = {
    keras.layers.BatchNormalization: "batch normalisation",
    keras.layers.GroupNormalization: "group normalisation",
}


def describe_network(network: keras.Model) -> str:
    """Return the name of a network, its normalisation, and the sizes at which it attends.

    Args:
        network: Keras model that has been built.

    Returns:
        Text such as `residual_unet, group normalisation, self-attention at 16x16, 8x8`. Only
        attention by `kddim.networks.layers.SpatialAttention` is named.
    """
    layers = network._flatten_layers(include_self=False)
    kinds = {type(layer) for layer in layers}
    found = [network.name] + [
        words for kind, words in NORMALIZATIONS.items() if any(issubclass(k, kind) for k in kinds)
    ]
    attentions = [layer for layer in layers if isinstance(layer, SpatialAttention)]
    shapes = [layer.get_build_config()["input_shape"][0] for layer in attentions]
    sizes = dict.fromkeys(f"{height}x{width}" for _, height, width, _ in shapes)
    return ", ".join(found) + (f", self-attention at {', '.join(sizes)}" if sizes else "")

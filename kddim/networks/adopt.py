"""Taking a network into a model: is it one, and how it is copied."""

import keras


def copy_network(network: keras.Model) -> keras.Model:
    """A copy that is not trained, with the same weights.

    `clone_model` alone would draw new ones.
    """
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy


def check_network(network: keras.Model, image_shape: tuple[int, ...]) -> None:
    """Refuses a network that does not take noisy images and noise variances to images.

    Raises:
        ValueError: another number of inputs, or another shape of the output.
    """
    shape = getattr(network, "output_shape", (None, *image_shape))
    if len(getattr(network, "inputs", [0, 0])) != 2 or tuple(shape)[1:] != image_shape:
        raise ValueError(
            "Expected a network [noisy_images, noise_variances] -> prediction of shape "
            f"{('batch', *image_shape)}. Received: {network.name}, "
            f"inputs {getattr(network, 'input_shape', None)}, output {shape}"
        )

"""Models of run folders and of `.keras` files."""

import logging
import os

import keras

from kddim.model import DiffusionModel
from kddim.model_files import check_model_file, describe_non_finite, explained
from kddim.runs.folder import model_path

log = logging.getLogger("kddim")


def load_model(path: str | os.PathLike, dtype: str | None = None) -> DiffusionModel:
    """Load a trained model, without its optimiser.

    Args:
        path: A `.keras` file, or a run folder.
        dtype: Dtype policy to convert the network to, such as "mixed_bfloat16". None keeps the
            policy that the model was saved with.

    Raises:
        ValueError: If there is no such file, if it is corrupt or claims absurd sizes, if it
            holds another model, or if one of its values is not finite.
    """
    model = read_model(path)
    words = describe_non_finite(model)
    if words:
        raise ValueError(
            f"Expected a model of finite values. Received: {model_path(path)}, in which {words} "
            "are NaN or infinite. Its training has diverged: use a model of an earlier epoch, or "
            "train again with a lower learning rate."
        )
    return model if dtype is None else with_dtype(model, dtype)


def read_model(path: str | os.PathLike) -> DiffusionModel:
    """Load a trained model as `load_model` does, even if its values are not finite.

    No code of the file is run.

    Args:
        path: A `.keras` file, or a run folder.

    Raises:
        ValueError: If there is no such file, if it is corrupt or claims absurd sizes, or if it
            holds another model.
    """
    file = model_path(path)
    with explained(file):
        check_model_file(file)
        return keras.saving.load_model(file, compile=False, safe_mode=True)


def with_dtype(model: DiffusionModel, dtype: str) -> DiffusionModel:
    """Return a model whose residual UNet computes with another dtype policy.

    Args:
        model: The model. It is returned as it is if it has the policy already, or if its network
            was passed as `network=`, because such a network keeps its own policy.
        dtype: Dtype policy, such as "float32" or "mixed_bfloat16".
    """
    config = model.get_config()
    if config["dtype"] is None:
        log.warning("the model has a custom network, which keeps its precision: no %s", dtype)
    if config["dtype"] in (None, dtype):
        return model
    converted = type(model).from_config(config | {"dtype": dtype})
    converted.set_weights(model.get_weights())
    return converted

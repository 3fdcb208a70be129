"""Every backend answers one stored case alike: denoising, sampling, encoding, training, KID."""

import functools

import keras
import numpy as np
import pytest
from parity import case

pytestmark = pytest.mark.backend
STORED = np.load(case.FOLDER / "case.npz")


@functools.cache
def found():
    return case.answers(keras.saving.load_model(case.FOLDER / "model.keras"))


@pytest.mark.parametrize("name", STORED.files)
def test_the_stored_case(name):
    """To float32 rounding, which grows over sampling steps and training steps."""
    expected, scale = STORED[name], np.abs(STORED[name]).max()
    assert found()[name].shape == expected.shape
    assert np.abs(found()[name] - expected).max() < 2e-5 * max(scale, 1.0)


def test_the_case_moves_weights_and_their_average():
    """What is compared after training differs from what was there before."""
    model = keras.saving.load_model(case.FOLDER / "model.keras")
    for name in ("network", "ema_network"):
        before = np.concatenate([np.ravel(w) for w in getattr(model, name).get_weights()])
        assert np.abs(STORED[f"trained_{name}"] - before).max() > 1e-3

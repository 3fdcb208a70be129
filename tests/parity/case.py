"""One case that every backend must answer alike: its inputs, and how answers are made.

    KERAS_BACKEND=tensorflow python tests/parity/case.py

writes `model.keras` and `case.npz`, the stored answers, beside this file.
"""

from pathlib import Path

import keras
import numpy as np

import kddim
from kddim.backend import to_numpy
from kddim.metrics import encoders

FOLDER = Path(__file__).parent
STEPS = 3


def inputs():
    """Images, noises and times, the same everywhere."""
    random = np.random.Generator(np.random.Philox(key=7))
    images = random.random((6, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2).astype("float32")
    noises = random.standard_normal((6, 16, 16, 3)).astype("float32")
    times = random.random((6, 1, 1, 1)).astype("float32")
    return images, noises, times


def make_model():
    images, _, _ = inputs()
    keras.utils.set_random_seed(0)
    network = kddim.networks.residual_unet(16, (4, 8, 12), 1, attention_levels=(2,))
    model = kddim.DiffusionModel(16, network=network, prediction_type="velocity")
    random = np.random.default_rng(1)
    for variable in model.ema_network.variables:  # moving statistics too, none of them trivial
        variable.assign(variable + 0.05 * random.standard_normal(variable.shape))
    model.network.set_weights([w + 0.01 for w in model.ema_network.get_weights()])
    model.normalizer.adapt(images)
    return model


def train(model):
    """Three steps of fit on given noises and times; the logs of the last."""
    images, noises, times = inputs()
    model.draw = lambda batch: (
        keras.ops.convert_to_tensor(noises),
        keras.ops.convert_to_tensor(times),
    )
    model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9))
    history = model.fit(images, batch_size=6, epochs=STEPS, shuffle=False, verbose=0)
    return [history.history[name][-1] for name in ("loss", "n_loss", "i_loss")]


def answers(model):
    """What a backend makes of the case: arrays by name."""
    images, noises, times = inputs()
    noise_rates, signal_rates = model.diffusion_schedule(times)
    denoised = model.denoise(noises, noise_rates, signal_rates, training=False)
    found = dict(zip(("pred_noises", "pred_images"), map(to_numpy, denoised)))
    found["generated"] = model.generate(5, 4, seed=1, batch_size=3)
    found["stochastic"] = model.generate(2, 4, kddim.samplers.DDIM(eta=0.7), seed=2)
    found["second_order"] = model.generate(2, 4, "dpm_solver_pp", seed=3)
    found["latents"] = model.encode(images, 5)
    encoder = encoders.get("random_conv")
    features = encoder(images), encoder(found["generated"])
    found["kid"] = np.array(kddim.metrics.polynomial_mmd(*features))
    found["fid"] = np.array(kddim.metrics.frechet_distance(*features))
    found["logs"] = np.array(train(model))
    for name, network in (("network", model.network), ("ema_network", model.ema_network)):
        values = [to_numpy(v.value).ravel() for v in network.variables]
        found[f"trained_{name}"] = np.concatenate([v.astype("float64") for v in values])
    return found


if __name__ == "__main__":
    model = make_model()
    model.save(FOLDER / "model.keras", include_optimizer=False)
    np.savez_compressed(FOLDER / "case.npz", **answers(model))

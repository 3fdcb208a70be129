"""Tests of loss weightings, of distributions of times, of flow matching and learning rates."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import kddim
from kddim import predictions, schedules, training_times, weightings
from kddim.backend import to_numpy
from kddim.learning_rates import ConstantThenLinear
from kddim.objective import Regression

pytestmark = pytest.mark.backend

NOISE_RATES = np.array([0.05, 0.3, 0.8, 0.999], "float32").reshape(-1, 1, 1, 1)
SIGNAL_RATES = np.sqrt(1 - NOISE_RATES**2)
SNR = (SIGNAL_RATES / NOISE_RATES) ** 2


def tensors(*arrays):
    return [ops.convert_to_tensor(np.asarray(a, "float32")) for a in arrays]


def weights_of(weighting, loss_type):
    return to_numpy(weighting.weights(*tensors(NOISE_RATES, SIGNAL_RATES), loss_type))


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("noise", np.minimum(SNR, 5.0) / SNR),
        ("image", np.minimum(SNR, 5.0)),
        ("velocity", np.minimum(SNR, 5.0) / (SNR + 1.0)),
    ],
)
def test_min_snr_weights_are_those_of_the_paper(loss_type, expected):
    np.testing.assert_allclose(weights_of(weightings.MinSNR(), loss_type), expected, rtol=2e-4)


def test_sigmoid_weights_are_those_of_the_noise():
    expected = 1.0 / (1.0 + np.exp(np.log(SNR) - 2.0))
    found = weights_of(weightings.SigmoidWeighting(2.0), "noise")
    np.testing.assert_allclose(found, expected, rtol=2e-4)


@pytest.mark.parametrize("weighting", [weightings.MinSNR(2.0), weightings.SigmoidWeighting(1.0)])
@pytest.mark.parametrize("loss_type", predictions.PREDICTION_TYPES)
def test_a_weighting_means_the_same_for_every_loss_type(weighting, loss_type):
    """The same error of the image costs the same, whatever the loss compares."""
    rng = np.random.default_rng(0)
    images, errors = (rng.normal(size=(4, 2, 2, 1)) for _ in range(2))
    noises = rng.normal(size=images.shape)
    noisy = SIGNAL_RATES * images + NOISE_RATES * noises
    pair = (noisy - SIGNAL_RATES * (images + errors)) / NOISE_RATES, images + errors
    found, true = (
        predictions.target(loss_type, *p, NOISE_RATES, SIGNAL_RATES)
        for p in (pair, (noises, images))
    )
    cost = weights_of(weighting, loss_type) * (found - true) ** 2
    np.testing.assert_allclose(cost, weights_of(weighting, "image") * errors**2, rtol=1e-3)


@pytest.mark.parametrize("schedule", [schedules.FlowMatchingSchedule(), schedules.CosineSchedule()])
@pytest.mark.parametrize("kind", [training_times.LogNormalTimes, training_times.LogitNormalTimes])
def test_log_normal_times_have_normal_log_sigmas_within_the_schedule(kind, schedule):
    times, count = kind(), 20_000
    uniform = (np.arange(count) + 0.5) / count
    found = to_numpy(times.times(*tensors(uniform), schedule)).astype("float64")
    low, high = np.arctan2(*schedule(np.array([0.0, 1.0])))
    noise, signal = schedule(found)
    assert np.all((found >= 0) & (found <= 1))
    assert np.all(np.diff(found) >= 0)
    log_sigma = np.log(noise / signal)

    # Quantiles of the truncated normal distribution, by the erf of the standard library.
    def probability(angle):
        x = math.log(math.tan(angle)) if 0 < angle < math.pi / 2 else math.copysign(99, angle - 1)
        return 0.5 * (1 + math.erf((x - times.mean) / times.std / math.sqrt(2)))

    ends = probability(low), probability(high)
    for share in (0.1, 0.5, 0.9):
        middle = log_sigma[int(share * count)]
        got = 0.5 * (1 + math.erf((middle - times.mean) / times.std / math.sqrt(2)))
        assert got == pytest.approx(ends[0] + share * (ends[1] - ends[0]), abs=2e-3)


def test_objective_weighs_images():
    objective = Regression("noise", weighting="min_snr")
    images, noises = (np.random.default_rng(s).normal(size=(4, 2, 2, 1)) for s in (0, 1))
    zeros = np.zeros_like(noises)

    def denoise(noisy_images, noise_rates, signal_rates):
        return predictions.split("noise", *tensors(zeros), noisy_images, noise_rates, signal_rates)

    examples = objective.examples(
        denoise, lambda _: tensors(NOISE_RATES, SIGNAL_RATES), *tensors(images, noises), None
    )
    loss = objective.loss(examples, keras.losses.mean_squared_error)
    expected = np.mean(np.minimum(SNR, 5.0) / SNR * noises**2)
    assert float(to_numpy(loss)) == pytest.approx(expected, rel=1e-3)


def test_objective_round_trip_through_a_file(tmp_path):
    model = kddim.DiffusionModel(8, (4, 8), 1, prediction_type="flow", schedule="flow_matching")
    model.normalizer.adapt(np.random.default_rng(0).random((8, 8, 8, 3)))
    objective = Regression("flow", training_times.LogNormalTimes(0.5, 1.0), weightings.MinSNR(2.0))
    model.compile(keras.optimizers.AdamW(ConstantThenLinear(1e-3, 10)), objective=objective)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.objective == objective
    assert loaded.optimizer._learning_rate == ConstantThenLinear(1e-3, 10)


def test_flow_matching_is_rectified_flow_up_to_a_factor():
    """With `z = norm * x_t`, one DDIM step is one Euler step along the predicted flow."""
    schedule, rng = schedules.FlowMatchingSchedule(), np.random.default_rng(0)
    images, noises = (rng.normal(size=(1, 2, 2, 1)) for _ in range(2))
    start, end = 0.8, 0.6
    (noise, signal), (next_noise, next_signal) = schedule(start), schedule(end)
    flow = predictions.target("flow", noises, images, noise, signal)
    noisy = signal * images + noise * noises
    found = predictions.split("flow", flow, noisy, noise, signal)
    np.testing.assert_allclose(found[0], noises)
    np.testing.assert_allclose(found[1], images)
    euler = (1 - start) * images + start * noises + (end - start) * flow
    ddim = next_signal * found[1] + next_noise * found[0]
    np.testing.assert_allclose(ddim, euler / np.hypot(end, 1 - end))


def test_edm_preconditioning_is_velocity_prediction():
    """EDM's Eq. 7 with data of unit variance: D = c_skip x + c_out F, where F = -velocity."""
    rng, sigma = np.random.default_rng(0), 1.7
    clean, noises, raw = (rng.normal(size=(1, 2, 2, 1)) for _ in range(3))
    exploded = clean + sigma * noises
    denoised = exploded / (sigma**2 + 1) + sigma / np.sqrt(sigma**2 + 1) * raw
    signal, noise = 1 / np.sqrt(sigma**2 + 1), sigma / np.sqrt(sigma**2 + 1)
    found = predictions.split("velocity", -raw, exploded * signal, noise, signal)[1]
    np.testing.assert_allclose(found, denoised)


def test_learning_rate_is_constant_then_falls_to_zero():
    rate = ConstantThenLinear(0.5, steps=10, decay=0.4)
    found = [float(to_numpy(rate(step))) for step in (0, 5, 6, 8, 10, 99)]
    np.testing.assert_allclose(found, [0.5, 0.5, 0.5, 0.25, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regression("noise", times="early"), "Unknown distribution of times.*'early'"),
        (lambda: Regression("noise", weighting="snr"), "Unknown weighting.*'snr'"),
        (lambda: weightings.MinSNR(0.0), "Expected gamma > 0"),
        (lambda: training_times.LogNormalTimes(std=0.0), "std > 0"),
        (lambda: ConstantThenLinear(1e-3, 10, 0.0), r"decay in \(0, 1\]"),
    ],
)
def test_wrong_options_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()

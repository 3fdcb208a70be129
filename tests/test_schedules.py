"""Every schedule keeps the contract; the closed forms are those of the papers."""

import keras
import numpy as np
import pytest
from keras import ops

from kddim import schedules
from kddim.backend import to_numpy

pytestmark = pytest.mark.backend

SCHEDULES = [cls() for cls in schedules.NAMES.values()] + [
    schedules.CosineSchedule(0.0, 1.0),
    schedules.LinearBetaSchedule(100, 1e-3, 0.1),
    schedules.LogSNRLinearSchedule(5.0, -5.0),
]
each = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
TIMES = np.linspace(0.0, 1.0, 201)


@each
def test_squares_of_the_rates_sum_to_one(schedule):
    noise, signal = schedule(TIMES)
    np.testing.assert_allclose(noise**2 + signal**2, 1.0, atol=1e-12)
    assert np.all(noise >= 0)
    assert np.all(signal >= -1e-12)


@each
def test_noise_grows_with_time(schedule):
    noise, signal = schedule(TIMES)
    assert np.all(np.diff(noise) > 0)
    assert np.all(np.diff(signal) < 0)


@each
def test_log_snr_is_that_of_the_rates(schedule):
    inside = TIMES[1:-1]
    noise, signal = schedule(inside)
    np.testing.assert_allclose(schedule.log_snr(inside), 2 * np.log(signal / noise), atol=1e-9)


@each
def test_time_at_log_snr_is_the_inverse(schedule):
    inside = TIMES[1:-1]
    times = schedule.time_at_log_snr(schedule.log_snr(inside))
    np.testing.assert_allclose(times, inside, atol=1e-9)


@each
def test_tensors_give_what_arrays_give(schedule):
    times = TIMES[1:-1].astype("float32").reshape(-1, 1, 1, 1)
    tensors = schedule(ops.convert_to_tensor(times))
    assert all(ops.is_tensor(t) and tuple(t.shape) == times.shape for t in tensors)
    for tensor, array in zip(tensors, schedule(times.astype("float64"))):
        np.testing.assert_allclose(to_numpy(tensor), array, atol=2e-5)
    log_snr = schedule.log_snr(times.astype("float64"))
    back = schedule.time_at_log_snr(ops.convert_to_tensor(log_snr, "float32"))
    np.testing.assert_allclose(to_numpy(back), times, atol=2e-4)


@each
def test_configuration_round_trip(schedule):
    assert type(schedule).from_config(schedule.get_config()) == schedule
    config = keras.saving.serialize_keras_object(schedule)
    assert schedules.get(config) == schedule
    assert schedules.get(schedule) is schedule
    short = {"class_name": type(schedule).__name__, "config": schedule.get_config()}
    assert schedules.get(short) == schedule


def test_angle_schedule_is_that_of_the_example():
    noise, signal = schedules.CosineSchedule()(TIMES)
    angles = np.arccos(0.95) + TIMES * (np.arccos(0.02) - np.arccos(0.95))
    np.testing.assert_allclose(signal, np.cos(angles), atol=1e-15)
    np.testing.assert_allclose(noise, np.sin(angles), atol=1e-15)


def test_linear_betas_have_the_alpha_bars_of_ddpm():
    _, signal = schedules.LinearBetaSchedule()(np.arange(1001) / 1000)
    alpha_bars = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))
    assert signal[0] == 1.0
    np.testing.assert_allclose(signal[1:] ** 2, alpha_bars, rtol=1e-9)


def test_integer_times_are_times():
    schedule = schedules.LinearBetaSchedule()
    assert schedule(1)[1] == schedule(1.0)[1]
    assert schedule(np.array([0, 1]))[1][1] == schedule(1.0)[1]
    assert schedule.time_at_log_snr(np.array([np.inf]))[0] == 0.0


def test_rates_keep_their_digits_in_float32():
    schedule = schedules.LogSNRLinearSchedule(20.0, -20.0)
    noise, _ = schedule(ops.convert_to_tensor(np.array([0.0, 0.1], "float32")))
    np.testing.assert_allclose(to_numpy(noise), schedule(np.array([0.0, 0.1]))[0], rtol=1e-4)


def test_discrete_training_times_are_the_timesteps():
    schedule = schedules.LinearBetaSchedule(10)
    times = schedule.training_times(np.array([0.0, 0.05, 0.55, 0.999]))
    np.testing.assert_allclose(times, [0.1, 0.1, 0.6, 1.0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: schedules.get("cosin"), "expected one of 'cosine'.*Received: 'cosin'"),
        (lambda: schedules.get(3), "Unknown schedule"),
        (lambda: schedules.get({"class_name": "Nope", "config": {}}), "Unknown schedule"),
        (lambda: schedules.CosineSchedule(0.9, 0.5), "min_signal_rate < max_signal_rate"),
        (lambda: schedules.CosineSchedule(0.1, 1.5), "max_signal_rate=1.5"),
        (lambda: schedules.LinearBetaSchedule(1), "num_timesteps >= 2"),
        (lambda: schedules.LinearBetaSchedule(10, 0.1, 0.01), "beta_start <= beta_end"),
        (lambda: schedules.LogSNRLinearSchedule(-5, 5), "end_log_snr < start_log_snr"),
    ],
)
def test_bad_options_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()

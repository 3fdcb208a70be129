"""Tests of all schedules: their common properties, and the closed forms of the papers."""

import keras
import numpy as np
import pytest
from keras import ops

import kddim
from kddim import schedules
from kddim.backend import compile_step, to_numpy

pytestmark = pytest.mark.backend

SCHEDULES = [cls() for cls in schedules.NAMES.values()] + [
    schedules.CosineSchedule(0.0, 1.0),
    schedules.LinearBetaSchedule(100, 1e-3, 0.1),
    schedules.LogSNRLinearSchedule(5.0, -5.0),
    schedules.NicholDhariwalSchedule(100, 0.0, 0.5),
    schedules.SigmoidSchedule(0.0, 3.0, 0.3, min_signal_rate=0.02),
    schedules.SigmoidSchedule(-3.0, 3.0, 0.1, min_signal_rate=0.0),
    schedules.SigmoidSchedule(tau=1e3, min_signal_rate=0.0),
]
DISCRETE = [
    cls for cls in schedules.NAMES.values() if issubclass(cls, schedules.DiscreteBetaSchedule)
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
def test_compiled_steps_give_what_arrays_give(schedule):
    uniform = np.linspace(0.0, 0.999, 41).astype("float32")

    def rates_and_back(uniform):
        times = schedule.training_times(uniform)
        log_snr = schedule.log_snr(times)
        return (*schedule(times), schedule.time_at_log_snr(log_snr), times)

    found = compile_step(rates_and_back, [])(ops.convert_to_tensor(uniform))
    noise, signal, back, times = (to_numpy(tensor) for tensor in found)
    expected = schedule(schedule.training_times(uniform.astype("float64")))
    np.testing.assert_allclose(noise, expected[0], atol=2e-5)
    np.testing.assert_allclose(signal, expected[1], atol=2e-5)
    np.testing.assert_allclose(back, times, atol=2e-4)


@each
def test_arrays_keep_their_precision(schedule):
    for dtype in ("float32", "float64"):
        times = np.array([0.0, 0.25, 1.0], dtype)
        assert {rates.dtype for rates in schedule(times)} == {np.dtype(dtype)}
        assert schedule.time_at_log_snr(schedule.log_snr(times)).dtype.kind == "f"


@each
def test_the_ends_are_finite_rates_and_true_times(schedule):
    """Arrays and tensors are tested, and schedules with an infinite log-SNR at an end."""
    ends = np.array([0.0, 1.0], "float32")
    for times in (ends, ops.convert_to_tensor(ends)):
        noise, signal = (to_numpy(rates) for rates in schedule(times))
        assert np.all(np.isfinite([noise, signal]))
        assert 0.0 <= noise[0] < noise[1] <= 1.0
        assert 1.0 >= signal[0] > signal[1] > -1e-6
        back = to_numpy(schedule.time_at_log_snr(schedule.log_snr(times)))
        np.testing.assert_allclose(back, ends, atol=2e-3)


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


@pytest.mark.parametrize("cls", DISCRETE)
def test_discrete_schedules_multiply_their_betas(cls):
    schedule = cls(50)
    _, signal = schedule(np.arange(51) / 50)
    assert schedule.betas().shape == (50,)
    np.testing.assert_allclose(signal[1:] ** 2, np.cumprod(1.0 - schedule.betas()), rtol=1e-9)
    halfway = schedule(np.array([10.5 / 50]))[1][0]
    np.testing.assert_allclose(halfway, np.sqrt(signal[10] * signal[11]), rtol=1e-12)


def test_nichol_dhariwal_is_eq_17_until_the_clip():
    def f(t):
        return np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2

    schedule = schedules.NicholDhariwalSchedule()
    timesteps = np.arange(1000) / 1000  # The clip changes only the last one.
    np.testing.assert_allclose(schedule(timesteps)[1] ** 2, f(timesteps) / f(0.0), rtol=1e-6)
    assert schedule.betas()[-1] == 0.999
    last = f(0.999) / f(0.0) * (1 - 0.999)
    np.testing.assert_allclose(schedule(1.0)[1] ** 2, last, rtol=1e-6)
    assert np.isfinite(schedule.log_snr(1.0))


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("linear", schedules.LinearBetaSchedule()),
        ("squaredcos_cap_v2", schedules.NicholDhariwalSchedule()),
        ("squaredcos_cap_v2", schedules.NicholDhariwalSchedule(100)),
    ],
    ids=repr,
)
def test_alpha_bars_are_those_of_diffusers(name, schedule):
    diffusers = pytest.importorskip("diffusers")
    steps = schedule.num_timesteps
    theirs = diffusers.DDPMScheduler(steps, beta_schedule=name).alphas_cumprod.numpy()
    _, signal = schedule(np.arange(1, steps + 1) / steps)
    np.testing.assert_allclose(signal**2, theirs, atol=1e-5)
    np.testing.assert_allclose(signal**2, theirs, rtol=2e-4)


@pytest.mark.parametrize(
    ("start", "end", "tau"), [(-3.0, 3.0, 1.0), (0.0, 3.0, 0.3), (0.0, 3.0, 1.1), (-3.0, 1.0, 0.5)]
)
def test_sigmoid_is_that_of_the_papers(start, end, tau):
    def sigmoid(x):
        return 1.0 / (1.0 + np.exp(-x))

    first, last = sigmoid(start / tau), sigmoid(end / tau)
    alpha_bars = (last - sigmoid((start + TIMES * (end - start)) / tau)) / (last - first)
    noise, signal = schedules.SigmoidSchedule(start, end, tau, 1e-9**0.5)(TIMES)
    np.testing.assert_allclose(signal**2, np.clip(alpha_bars, 1e-9, 1.0), atol=2e-9)
    np.testing.assert_allclose(noise**2, 1.0 - np.clip(alpha_bars, 1e-9, 1.0), atol=2e-9)
    noise, signal = schedules.SigmoidSchedule(start, end, tau, 0.0)(TIMES)
    np.testing.assert_allclose(signal**2, alpha_bars, atol=1e-14)


def test_sigmoid_keeps_its_digits_near_both_ends_in_float32():
    """Squared rates near an end are linear in the distance from it, to first order."""
    schedule = schedules.SigmoidSchedule(min_signal_rate=0.0)
    x = 1.0 / (1.0 + np.exp(3.0))
    slope = 6.0 * x * (1.0 - x) / (1.0 - 2.0 * x)  # Of alpha_bar, at both ends.
    left = np.array([2.0**-23, 2.0**-20], "float32")  # 1 - left is exact.
    noise, _ = schedule(ops.convert_to_tensor(left))
    _, signal = schedule(ops.convert_to_tensor(np.float32(1.0) - left))
    np.testing.assert_allclose(to_numpy(noise), np.sqrt(slope * left), rtol=1e-4)
    np.testing.assert_allclose(to_numpy(signal), np.sqrt(slope * left), rtol=1e-4)


def test_sigmoid_ends_at_its_least_signal_rate():
    for least in (0.0, 1e-9**0.5, 0.02, 0.5):
        schedule = schedules.SigmoidSchedule(min_signal_rate=least)
        np.testing.assert_allclose(schedule(1.0)[1], least, atol=1e-15)
        assert schedule(0.0)[1] == 1.0
        below = schedule.log_snr(1.0) - 1.0 if least else -np.inf
        np.testing.assert_allclose(schedule.time_at_log_snr(below), 1.0)


def test_noise_predictions_need_some_signal_at_time_1():
    without = [schedules.SigmoidSchedule(min_signal_rate=0.0), schedules.FlowMatchingSchedule()]
    for cls in set(schedules.NAMES.values()) - {schedules.FlowMatchingSchedule}:
        schedules.check_terminal_rate(cls(), "noise")
    for schedule in without:
        for prediction_type in ("velocity", "image", "flow"):
            schedules.check_terminal_rate(schedule, prediction_type)
        with pytest.raises(ValueError, match=r"above zero.*Schedule.*Use prediction_type="):
            schedules.check_terminal_rate(schedule, "noise")


class Backwards(schedules.Schedule):
    """Schedule that is clean at time 1 by mistake."""

    def log_snr(self, diffusion_times):
        return 10.0 * diffusion_times - 5.0

    def time_at_log_snr(self, log_snr):
        return (log_snr + 5.0) / 10.0

    def __repr__(self):
        return "Backwards()"


class Hump(Backwards):
    def log_snr(self, diffusion_times):
        return 5.0 - 30.0 * (diffusion_times - 0.4) ** 2


class Flat(Backwards):
    def log_snr(self, diffusion_times):
        return 0.0 * diffusion_times


class Undefined(Backwards):
    def log_snr(self, diffusion_times):
        return np.nan * diffusion_times


@pytest.mark.parametrize("cls", [Backwards, Hump, Flat, Undefined])
def test_a_signal_to_noise_ratio_that_does_not_fall_is_refused(cls):
    match = r"ratio falls from time 0.*Received: .*signal rate .* at time 0.* Correct its"
    with pytest.raises(ValueError, match=match):
        schedules.get(cls())
    with pytest.raises(ValueError, match=match):
        kddim.DiffusionModel(8, (8, 16), 1, schedule=cls())


@each
def test_schedules_fall_also_where_they_compute_in_float32(schedule):
    schedules.check_monotonic(schedule)
    schedules.check_monotonic(lambda times: schedule(times.astype("float32")))
    schedules.check_monotonic(lambda times: schedule(ops.convert_to_tensor(times, "float32")))
    times = np.linspace(0.0, 1.0, 101)
    for given in (times, times.astype("float32"), ops.convert_to_tensor(times, "float32")):
        noise_rates, signal_rates = (to_numpy(rates) for rates in schedule(given))
        assert np.all(np.diff(noise_rates) >= 0)
        assert np.all(np.diff(signal_rates) <= 0)
        assert signal_rates[0] > 0.9 > 0.1 > signal_rates[-1]


def test_configurations_of_earlier_files_are_known():
    """Files were saved when the schedules were one module."""
    for name in ("CosineSchedule", "LinearBetaSchedule", "LogSNRLinearSchedule"):
        config = {
            "module": "kddim.schedules",
            "class_name": name,
            "config": {},
            "registered_name": f"kddim>{name}",
        }
        expected = getattr(schedules, name)()
        assert schedules.get(config) == expected
        assert keras.saving.deserialize_keras_object(config) == expected


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
        (lambda: schedules.NicholDhariwalSchedule(1), "num_timesteps >= 2.*num_timesteps=1"),
        (lambda: schedules.NicholDhariwalSchedule(offset=-0.1), "offset=-0.1"),
        (lambda: schedules.NicholDhariwalSchedule(max_beta=1.0), "0 < max_beta < 1.*max_beta=1.0"),
        (lambda: schedules.SigmoidSchedule(3.0, -3.0), "start < end.*start=3.0, end=-3.0"),
        (lambda: schedules.SigmoidSchedule(tau=0.0), "tau > 0.*tau=0.0"),
        (lambda: schedules.SigmoidSchedule(end=np.inf), "finite start < end"),
        (lambda: schedules.SigmoidSchedule(min_signal_rate=1.0), "min_signal_rate < 1"),
    ],
)
def test_bad_options_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    "schedule",
    [schedules.SigmoidSchedule(min_signal_rate=1e-9**0.5), schedules.NicholDhariwalSchedule()],
    ids=repr,
)
def test_hardly_any_signal_at_the_end_is_said_for_noise_predictions(schedule, caplog):
    schedules.check_terminal_rate(schedule, "velocity")
    schedules.check_terminal_rate(schedules.get("linear_beta"), "noise")
    assert not caplog.text
    schedules.check_terminal_rate(schedule, "noise")
    assert 'use prediction_type="velocity", or a sampler that clips' in caplog.text


def test_geometric_levels_are_those_of_ncsn():
    """Ten levels from 1 to 0.01, as `np.geomspace` gives them, in variance-preserving form."""
    noise_rates, signal_rates = schedules.GeometricSchedule(0.01, 1.0)(np.linspace(1.0, 0.0, 10))
    np.testing.assert_allclose(noise_rates / signal_rates, np.geomspace(1.0, 0.01, 10), rtol=1e-12)
    np.testing.assert_allclose(noise_rates**2 + signal_rates**2, 1.0)


@pytest.mark.parametrize("levels", [(0.0, 1.0), (1.0, 0.5), (0.1, float("inf")), (-1.0, 1.0)])
def test_geometric_levels_must_rise(levels):
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        schedules.GeometricSchedule(*levels)

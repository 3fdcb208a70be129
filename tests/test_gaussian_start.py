"""The Gaussian of a data set, its flow, and the sampler that begins with it."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

import kddim
from kddim import cli, evaluation, presets, runs, samplers, schedules, tuning
from kddim.backend import to_numpy
from kddim.gaussian import GaussianImages
from kddim.generation import CompiledDenoiser, Generation
from kddim.recipe import Recipe
from kddim.samplers import DDIM, AdamsBashforth, GaussianStart

SCHEDULES = [schedules.CosineSchedule(), schedules.LinearBetaSchedule()]


def rates(schedule, time):
    return tuple(float(to_numpy(rate)) for rate in schedule(np.float32(time)))


def photographs(number=200, shape=(16, 16, 3)):
    """Return images of a few smooth shapes of random strengths, and grain."""
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(5, 4, 4, shape[2])).repeat(shape[0] // 4, 1).repeat(shape[1] // 4, 2)
    images = 0.5 + 0.06 * np.tensordot(rng.normal(size=(number, 5)), shapes, 1)
    return np.clip(images + 0.02 * rng.normal(size=(number, *shape)), 0, 1).astype("float32")


def some_gaussian(shape=(4, 4, 2)):
    rng = np.random.default_rng(1)
    size = int(np.prod(shape))
    directions = np.linalg.qr(rng.normal(size=(size, 3)))[0].T.reshape(3, *shape)
    return GaussianImages(0.3 * rng.normal(size=shape), directions, [9.0, 4.0, 0.5], 0.2)


def covariance(gaussian):
    """Return the mean and the covariance of images with one pixel per block."""
    flat = gaussian.components.reshape(len(gaussian.components), -1).astype("float64")
    excess = (gaussian.variances - gaussian.rest)[:, None] * flat
    return gaussian.mean.ravel(), gaussian.rest * np.eye(flat.shape[1]) + flat.T @ excess


def fitted_model(**options):
    images = photographs()
    model = kddim.DiffusionModel(16, widths=(8, 16), block_depth=1, seed=0, **options)
    model.normalizer.adapt(images)
    model.fit_gaussian(images)
    weights = model.network.get_weights()
    weights[-2] = 0.1 * np.random.default_rng(6).normal(size=weights[-2].shape)  # zeros at first
    for network in (model.network, model.ema_network):
        network.set_weights(weights)
    return model


# The Gaussian.


@pytest.mark.backend
def test_the_fit_has_the_mean_the_components_and_the_total_variance_of_the_images():
    model, images = fitted_model(), photographs()
    normalised = to_numpy(model.normalizer(images)).astype("float64")
    blocks = normalised.reshape(len(images), 8, 2, 8, 2, 3).mean((2, 4))
    found = model.gaussian
    np.testing.assert_allclose(found.mean, blocks.mean(0), atol=1e-4)
    flat = 2.0 * (blocks - blocks.mean(0)).reshape(len(images), -1)  # unit noise stays so
    expected = np.linalg.svd(flat, compute_uv=False)[:32] ** 2 / len(images)
    np.testing.assert_allclose(found.variances[::-1], expected, rtol=1e-3)
    directions = found.components.reshape(32, -1)
    np.testing.assert_allclose(directions @ directions.T, np.eye(32), atol=1e-3)
    total = (normalised**2).sum() / len(images) - 4.0 * (blocks.mean(0) ** 2).sum()
    assert found.variances.sum() + found.rest * (16 * 16 * 3 - 32) == pytest.approx(total, 1e-3)


def test_batches_give_the_same_as_an_array():
    model, images = fitted_model(), photographs()
    model.fit_gaussian(images[i : i + 30] for i in range(0, len(images), 30))
    found, expected = model.gaussian, fitted_model().gaussian
    for name in ("mean", "variances", "rest"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-3)
    signs = np.sign(np.sum(found.components * expected.components, axis=(1, 2, 3), keepdims=True))
    np.testing.assert_allclose(found.components, signs * expected.components, atol=1e-3)


@pytest.mark.backend
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_flow_is_that_of_the_ode(schedule):
    """Many small steps of DDIM with the best denoiser of the Gaussian lead to the same place."""
    gaussian = some_gaussian()
    mean, matrix = covariance(gaussian)
    start = np.random.default_rng(2).normal(size=(3, 4, 4, 2))
    times = np.linspace(1.0, 0.6, 2001)
    noisy = start.reshape(3, -1)
    for time, after in itertools.pairwise(times):
        (noise, signal), (next_noise, next_signal) = rates(schedule, time), rates(schedule, after)
        total = signal**2 * matrix + noise**2 * np.eye(len(mean))
        image = mean + (noisy - signal * mean) @ np.linalg.solve(total, signal * matrix)
        noisy = next_signal * image + next_noise * (noisy - signal * image) / noise
    found = gaussian.follow(
        ops.convert_to_tensor(start.astype("float32")), rates(schedule, 1.0), rates(schedule, 0.6)
    )
    np.testing.assert_allclose(to_numpy(found).reshape(3, -1), noisy, atol=5e-3)


@pytest.mark.backend
def test_noise_becomes_noisy_images_of_the_distribution():
    gaussian, schedule = some_gaussian(), schedules.LinearBetaSchedule()  # ends in pure noise
    mean, matrix = covariance(gaussian)
    noise = np.random.default_rng(3).normal(size=(20_000, 4, 4, 2)).astype("float32")
    low, high = rates(schedule, 0.4), rates(schedule, 1.0)
    found = to_numpy(gaussian.follow(ops.convert_to_tensor(noise), high, low)).reshape(20_000, -1)
    expected = low[1] ** 2 * matrix + low[0] ** 2 * np.eye(len(mean))
    np.testing.assert_allclose(found.mean(0), low[1] * mean, atol=0.1)
    np.testing.assert_allclose(np.cov(found.T), expected, atol=0.25)


@pytest.mark.backend
def test_ways_join_and_lead_back():
    gaussian, schedule = some_gaussian(), SCHEDULES[0]
    images = ops.convert_to_tensor(np.random.default_rng(4).normal(size=(2, 8, 8, 2)), "float32")
    one, half, low = (rates(schedule, time) for time in (1.0, 0.7, 0.3))
    direct = gaussian.follow(images, one, low)
    joined = gaussian.follow(gaussian.follow(images, one, half), half, low)
    np.testing.assert_allclose(to_numpy(direct), to_numpy(joined), atol=1e-4)
    back = gaussian.follow(direct, low, one)
    np.testing.assert_allclose(to_numpy(back), to_numpy(images), atol=1e-3)


def test_a_gaussian_that_does_not_fit():
    config = some_gaussian().get_config()
    for changed, words in (
        ({"variances": [1.0]}, "one variance for each"),
        ({"variances": [1.0, -1.0, 1.0]}, "variances of at least 0"),
        ({"rest": float("nan")}, "finite"),
        ({"rest": None}, "damaged"),
        ({"shape": [3, 4, 4, 4]}, "reshape"),
        ({"shape": [3, 10**9, 10**9, 1]}, "reshape"),
        ({"mean": "?"}, "base64"),
    ):
        with pytest.raises(ValueError, match=words):
            GaussianImages.from_config(config | changed)
    with pytest.raises(ValueError, match="damaged"):
        GaussianImages.from_config({})
    with pytest.raises(ValueError, match="4x4 blocks"):
        some_gaussian().follow(ops.zeros((1, 6, 6, 2)), (1.0, 0.1), (0.9, 0.2))
    with pytest.raises(ValueError, match="at least two images"):
        fitted_model().fit_gaussian(photographs(1))


# The sampler.


@pytest.mark.backend
def test_few_steps_come_nearer_to_the_exact_images_than_without_the_start():
    gaussian, schedule = some_gaussian(), SCHEDULES[0]
    mean, matrix = (ops.convert_to_tensor(v, "float32") for v in covariance(gaussian))

    def denoise(noisy, noise, signal):
        total = signal[0, 0, 0, 0] ** 2 * matrix + noise[0, 0, 0, 0] ** 2 * ops.eye(32)
        flat = ops.reshape(noisy, (-1, 32)) - signal[0, 0, 0, 0] * mean
        flat = mean + signal[0, 0, 0, 0] * ops.transpose(
            ops.matmul(matrix, ops.linalg.solve(total, ops.transpose(flat)))
        )
        images = ops.reshape(flat, ops.shape(noisy))
        return (noisy - signal * images) / noise, images

    class Model:
        pass

    Model.gaussian = gaussian
    noise = np.random.default_rng(5).normal(size=(50, 4, 4, 2)).astype("float32")
    noisy = to_numpy(
        gaussian.follow(ops.convert_to_tensor(noise), (1.0, 0.0), rates(schedule, 1.0))
    )
    exact, plain, started = (
        to_numpy(
            Generation(
                CompiledDenoiser(denoise), schedule, Recipe(sampler, steps).for_model(Model)
            ).run(begin)[1]
        )
        for sampler, steps, begin in (
            (DDIM(), 200, noisy), (DDIM(), 4, noisy), (GaussianStart(start=0.7), 4, noise),
        )
    )  # fmt: skip
    errors = [np.sqrt(np.mean((images - exact) ** 2)) for images in (plain, started)]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.backend
def test_noise_becomes_noisy_images_of_the_gaussian():
    gaussian, schedule = some_gaussian(), SCHEDULES[0]
    sampler = GaussianStart(start=0.9)
    noise = np.random.default_rng(8).normal(size=(20000, 4, 4, 2)).astype("float32")

    class Model:
        pass

    Model.gaussian = gaussian
    found = to_numpy(sampler.for_model(Model, 3).begin(schedule, ops.convert_to_tensor(noise)))
    noise_rate, signal = rates(schedule, 0.9)
    mean, matrix = covariance(gaussian)
    expected = signal**2 * matrix + noise_rate**2 * np.eye(32)
    flat = found.reshape(-1, 32)
    np.testing.assert_allclose(flat.mean(axis=0), signal * mean, atol=0.03)
    np.testing.assert_allclose(np.cov(flat.T), expected, atol=0.04)


@pytest.mark.backend
@pytest.mark.parametrize("inner", ["ddim", "ipndm", "ddpm", DDIM(times="log_snr", clip=(-2, 2))])
def test_generate_begins_where_the_gaussian_leads(inner):
    model = fitted_model()
    sampler = GaussianStart(inner, 0.8)
    found = model.generate(3, 4, sampler, seed=7)
    noise = kddim.latents.initial_noise(3, model.image_shape, 7)
    end = rates(model.schedule, 0.8)
    moved = to_numpy(model.gaussian.follow(ops.convert_to_tensor(noise), (1.0, 0.0), end))
    by_hand = Recipe(inner, 4).shortened(0.8, model.schedule).sampler
    expected = model.generate(3, 4, by_hand, seed=7, initial_noise=moved)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.backend
def test_images_do_not_depend_on_the_batch():
    model = fitted_model()
    whole = model.generate(5, 3, "gaussian_start", seed=1)
    parts = model.generate(3, 3, "gaussian_start", seed=1, start=2, batch_size=2)
    np.testing.assert_allclose(whole[2:], parts, atol=1e-5)


@pytest.mark.backend
def test_it_is_saved_with_the_model(tmp_path):
    model = fitted_model()
    expected = model.generate(2, 3, "gaussian_start", seed=0)
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "bare.keras", include_optimizer=False)
    others = [keras.saving.load_model(tmp_path / f"{name}.keras") for name in ("model", "bare")]
    presets.pack(model, tmp_path / "preset", num_images=1, diffusion_steps=2)
    for other in (*others, model.averaged(), keras.models.clone_model(model)):
        assert other.gaussian.get_config() == model.gaussian.get_config()
    packed = kddim.DiffusionModel.from_preset(tmp_path / "preset")
    assert packed.gaussian.get_config() == model.gaussian.get_config()
    for other in (*others, model.averaged()):
        np.testing.assert_array_equal(other.generate(2, 3, "gaussian_start", seed=0), expected)


def test_a_model_without_it_says_what_to_do():
    model = kddim.DiffusionModel(16, widths=(8, 16), block_depth=1)
    with pytest.raises(ValueError, match="fit_gaussian"):
        model.generate(1, 2, "gaussian_start")


def test_what_cannot_start_there_is_refused():
    model, images = fitted_model(), photographs(2)
    for call in (
        lambda: model.image_to_image(images, 0.5, 2, "gaussian_start"),
        lambda: model.encode(images, 2, "gaussian_start"),
        lambda: GaussianStart(GaussianStart()),
        lambda: GaussianStart("tuned"),
        lambda: GaussianStart("auto"),
        lambda: model.image_to_image(images, 0.5, 2, "auto"),
        lambda: GaussianStart(start=1.0),
        lambda: GaussianStart(start=0),
        lambda: GaussianStart(start=True),
        lambda: GaussianStart(start="0.5"),
        lambda: GaussianStart().coefficients(None),
    ):
        with pytest.raises(ValueError, match=r"Expected|Unknown"):
            call()


def test_it_is_a_sampler_like_any_other():
    sampler = GaussianStart("dpm_solver_pp", 0.85)
    assert samplers.get(samplers.serialize_sampler(sampler)) == sampler
    text = "gaussian_start:sampler=dpm_solver_pp,start=0.85"
    assert samplers.parse.make_sampler(text) == sampler
    assert sampler.for_model(fitted_model(), 3).num_evaluations(3) == 3


@pytest.mark.backend
def test_a_tuned_sampler_begins_there_and_has_the_error_that_was_found():
    model = fitted_model()
    search = tuning.make_search(model, num_images=16, start=0.8)
    found = search.find(3)
    assert isinstance(found.sampler, GaussianStart)
    assert found.sampler.start == 0.8
    noise = kddim.latents.initial_noise(16, model.image_shape, 0)[8:]
    images = to_numpy(model.reverse_diffusion(noise, 3, found.sampler))
    difference = search.trajectories.weighted(images - search.trajectories.path[-1][8:])
    assert np.sqrt(np.mean(difference**2)) == pytest.approx(found.error, rel=1e-3)
    best = min(
        error for name, error in tuning.compare(search, [found])[0].items() if name != "steps"
    )
    assert best == found.error
    model.tuned_samplers = {3: found.sampler}
    expected = model.generate(2, 3, found.sampler, seed=0)
    np.testing.assert_array_equal(model.generate(2, 3, "tuned", seed=0), expected)


@pytest.mark.backend
def test_auto_takes_the_best_that_the_model_has():
    model = fitted_model()
    gaussian, model.gaussian = model.gaussian, None

    def equal(sampler, steps=3, **options):
        found = model.generate(2, steps, "auto", seed=0, **options)
        eta = {} if isinstance(sampler, str) else {"eta": None}
        expected = model.generate(2, steps, sampler, seed=0, **options | eta)
        return np.array_equal(found, expected)

    assert equal("ddim")
    model.gaussian = gaussian
    started = {
        steps: GaussianStart(AdamsBashforth(order=2, times=times))
        for steps, times in ((3, "uniform"), (7, "uniform"), (8, "log_snr"))
    }
    assert all(equal(sampler, steps) for steps, sampler in started.items())
    assert not equal("ddim")
    tuned = GaussianStart(DDIM(times=(1.0, 0.3, 0.1, 0.0)), 0.7)
    model.tuned_samplers = {3: tuned}
    assert equal(tuned)
    assert equal(started[7], 7)
    # What the model was tuned for has its own schedule, and is deterministic.
    assert equal("ddim", schedule="linear_beta")
    assert equal(DDIM(eta=0.5), eta=0.5)
    assert equal(DDIM(eta=0.0), eta=0.0)


def test_auto_leaves_classes_to_the_network():
    model = fitted_model(num_classes=3)
    assert samplers.Auto().for_model(model, 3) == DDIM()
    model.tuned_samplers = {3: DDIM(times="log_snr")}
    assert samplers.Auto().for_model(model, 3) == DDIM(times="log_snr")


def test_commands_choose_and_say_what_they_chose(tmp_path, caplog):
    model = fitted_model()
    model.save(tmp_path / "model.keras")
    for name, options in (
        ("auto", ()),
        ("start", ("--sampler", "gaussian_start:sampler=adams_bashforth")),
        ("ddim", ("--sampler", "ddim")),
        ("eta", ("--eta", 0)),
    ):
        caplog.clear()
        output = ("-o", tmp_path / f"{name}.npz")
        command = ("generate", tmp_path / "model.keras", "-n", 2, "--diffusion-steps", 3)
        with pytest.raises(SystemExit, match="0"):
            cli.main([str(word) for word in (*command, *options, *output)])
        assert ("sampler: GaussianStart(" in caplog.text) == (name == "auto")
    images = {p.stem: np.load(p)["images"] for p in tmp_path.glob("*.npz")}
    np.testing.assert_array_equal(images["auto"], images["start"])
    np.testing.assert_array_equal(images["ddim"], images["eta"])
    assert not np.array_equal(images["auto"], images["ddim"])


def test_tuning_from_there_needs_the_gaussian():
    model = kddim.DiffusionModel(16, widths=(8, 16), block_depth=1)
    with pytest.raises(ValueError, match="fit_gaussian"):
        tuning.tune(model, [2], num_images=8, start=0.9)
    with pytest.raises(ValueError, match="deterministic"):
        tuning.tune(fitted_model(), [2], "gaussian_start", num_images=8)


def test_a_run_has_it_and_every_command_takes_it(tmp_path):
    run = tmp_path / "run"
    arguments = ["train", "digits", "-o", run, "--epochs", 1, "--steps-per-epoch", 2]
    settings = ["--widths", "8,16", "--block-depth", 1, "--kid-encoder", "none"]
    data = ["digits", "--encoder", "random_conv", "-n", 32, "--metric", "kid"]
    sampler = ["--sampler", "gaussian_start:start=0.8"]
    for command in (
        [*arguments, *settings],
        ["generate", run, "-n", 4, "--diffusion-steps", 2, *sampler, "-o", tmp_path / "grid.png"],
        ["tune", run, "--diffusion-steps", 3, "-n", 8, "--start", 0.8],
        [
            "generate",
            run,
            "-n",
            4,
            "--diffusion-steps",
            3,
            "--sampler",
            "tuned",
            "-o",
            tmp_path / "t.png",
        ],
        ["sweep", run, *data[:-2], *sampler, "--steps", "2", "-o", tmp_path / "sweep"],
    ):
        with pytest.raises(SystemExit, match="0"):
            cli.main([str(word) for word in command])
    described = runs.describe(run)
    assert described["data Gaussian"] == "mean and 32 components of 8x8 blocks"
    assert described["tuned for"] == "3 steps"
    scores = evaluation.evaluate(
        runs.load_model(run), "digits", num_images=32, diffusion_steps=2, sampler="gaussian_start",
        encoder="random_conv", metrics=("kid",), floor=False,
    )  # fmt: skip
    assert scores["protocol"]["sampler"].startswith("GaussianStart(sampler=DDIM(")

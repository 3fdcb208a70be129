"""Tuned samplers: the search against brute force and closed forms, and the files."""

import dataclasses
import itertools
import json
import types

import keras
import numpy as np
import pytest
from keras import ops

import kddim
from kddim import cli, runs, samplers, schedules, training, tuning
from kddim.backend import to_numpy
from kddim.generation import CompiledDenoiser
from kddim.samplers import times as time_grids
from kddim.tuning.search import Search
from kddim.tuning.shortest_path import shortest_path, step_costs
from kddim.tuning.trajectories import _weighted, follow, frequency_weights, point_times

SCHEDULES = [schedules.CosineSchedule(), schedules.LinearBetaSchedule()]
DEVIATIONS = np.array([0.1, 0.3, 0.7, 1.5], "float32").reshape(1, 2, 2, 1)


class Gaussian:
    """The best denoiser for four independent Gaussian pixels, as a model."""

    image_shape = (2, 2, 1)
    tuned_samplers: dict = {}  # noqa: RUF012

    def __init__(self, schedule):
        self.schedule = schedule

    def denoise(self, noisy_images, noise_rates, signal_rates):
        variances = ops.convert_to_tensor(DEVIATIONS**2)
        total = signal_rates**2 * variances + noise_rates**2
        return noise_rates / total * noisy_images, signal_rates * variances / total * noisy_images

    def sampling_denoiser(self):
        return CompiledDenoiser(self.denoise)

    def reverse_diffusion(self, noises, diffusion_steps, sampler):
        noises = ops.convert_to_tensor(np.asarray(noises, "float32"))
        return sampler.sample(self.denoise, self.schedule, noises, diffusion_steps)

    def exact(self, noises, start, end):
        def deviation(time):
            noise_rate, signal_rate = self.schedule(np.array(time))
            return np.sqrt(signal_rate**2 * DEVIATIONS**2 + noise_rate**2)

        return noises * deviation(end) / deviation(start)


def brute_force(first, others, steps):
    def cost(path):
        triples = zip(path, path[1:], path[2:])
        return first[path[1]] + sum(others[triple] for triple in triples)

    last = len(first) - 1
    inner = itertools.combinations(range(1, last), steps - 1)
    return min(([0, *path, last] for path in inner), key=cost)


@pytest.mark.parametrize("steps", range(1, 8))
def test_the_path_is_that_of_brute_force(steps):
    random = np.random.default_rng(steps)
    for _ in range(20):
        first, others = random.random(8), random.random((8, 8, 8))
        first[0] = np.inf
        i, j, k = np.meshgrid(*[np.arange(8)] * 3, indexing="ij")
        others[(i >= j) | (j >= k)] = np.inf
        assert shortest_path(first, others, steps) == brute_force(first, others, steps)
    with pytest.raises(ValueError, match=r"1 to 7 steps between 8 points. Received: 8"):
        shortest_path(first, others, 8)


@pytest.mark.backend
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_trajectories_follow_the_exact_flow(schedule):
    model = Gaussian(schedule)
    found = follow(model, 20, seed=3, kept=12)
    times = point_times(schedule)
    assert (times[0], times[-1]) == (1.0, 0.0)
    assert np.all(np.diff(times) < 0)
    assert 45 <= len(times) <= 61
    assert point_times(schedule, 0.05)[-2] >= 0.05
    assert found.noises.shape == (12, 2, 2, 1)
    np.testing.assert_array_equal(found.noises, kddim.latents.initial_noise(12, (2, 2, 1), 3))
    signal = found.rates[1]
    for point in range(0, len(times) - 1, 7):
        exact = model.exact(found.noises, 1.0, times[point])
        np.testing.assert_allclose(found.path[point] * signal[point], exact, atol=2e-3)


def test_costs_are_the_errors_of_the_best_steps():
    """The matrix of products says the same as the images and predictions themselves."""
    model = Gaussian(SCHEDULES[0])
    found = follow(model, 64, kept=64)
    first, others = step_costs(found)
    noise, signal = found.rates
    predictions = [
        found.weighted(found.predict(found.path[p] * signal[p], noise[p], signal[p])).ravel()
        for p in range(len(noise) - 1)
    ]
    path = found.weighted(found.path).reshape(len(noise), -1)
    last = len(noise) - 1
    for point in (1, 9, last):
        step = (found.sigmas[point] - found.sigmas[0]) * predictions[0]
        error = np.sqrt(np.mean((path[point] - path[0] - step) ** 2))
        assert first[point] == pytest.approx(error, rel=1e-2, abs=1e-3)
    for i, j, k in ((0, 5, 9), (3, 20, 31), (30, 50, last)):
        columns = np.stack([predictions[j], predictions[i]], axis=1)
        wanted = path[k] - path[j]
        rest = wanted - columns @ np.linalg.lstsq(columns, wanted, rcond=None)[0]
        assert others[i, j, k] == pytest.approx(np.sqrt(np.mean(rest**2)), rel=2e-2, abs=2e-3)
    assert np.isinf(others[5, 5, 9])
    assert np.isinf(first[0])


@pytest.mark.backend
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_searched_times_beat_every_named_grid(schedule):
    """For Gaussian data, whose images are known, with every number of steps from 3 to 10."""
    model = Gaussian(schedule)
    noises = kddim.latents.initial_noise(256, model.image_shape, seed=11)
    exact = model.exact(noises, 1.0, 0.0)
    noise, signal = schedule(np.array(0.0))
    # The last prediction of an exact trajectory at its end.
    exact = signal * DEVIATIONS**2 / (signal**2 * DEVIATIONS**2 + noise**2) * exact

    def error(sampler, steps):
        images = to_numpy(model.reverse_diffusion(noises, steps, sampler))
        return np.sqrt(np.mean((images - exact) ** 2))

    for kind in (samplers.IPNDM(order=3), samplers.DPMSolverPP()):
        search = tuning.make_search(model, kind, 64)
        for steps in range(3, 11):
            found = search.find(steps).sampler
            others = [dataclasses.replace(kind, times=name) for name in time_grids.GRIDS]
            assert error(found, steps) < min(error(other, steps) for other in others)


def test_grain_weighs_more_than_a_shift_of_colour():
    random = np.random.default_rng(0)
    smooth = random.standard_normal((32, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    weights = frequency_weights(smooth)
    assert weights.shape == (16, 9, 3)
    white = random.standard_normal((64, 16, 16, 3))
    assert np.mean(_weighted(white, weights) ** 2) == pytest.approx(1.0, abs=0.05)
    flat = np.ones((1, 16, 16, 3))
    assert np.mean(_weighted(flat, weights) ** 2) < 0.2
    np.testing.assert_allclose(_weighted(white, np.ones_like(weights)), white, atol=1e-12)
    odd = random.standard_normal((8, 5, 7, 1))
    np.testing.assert_allclose(_weighted(odd, np.ones((5, 4, 1))), odd, atol=1e-12)


@pytest.fixture
def found(model):
    return tuning.tune(model, [1, 3], num_images=8, seed=1)


@pytest.mark.backend
def test_a_fitted_sampler_ends_nearer_to_the_accurate_images(model):
    search = tuning.make_search(model, num_images=32)
    for steps in (3, 5):
        found = search.find(steps)
        assert found.error == search.error(found.sampler, steps)
        assert found.sampler.table[-1] == (1.0,)
        for grid in time_grids.GRIDS:
            assert found.error < search.error(samplers.DDIM(times=grid), steps)


def test_the_error_of_a_fit_is_that_of_sampling(model):
    search = Search(model, follow(model, 16, kept=16))
    found = search.fit((0, 20, 40, len(search.trajectories.times) - 1))
    assert search._error(found.sampler, 3, slice(8)) == pytest.approx(found.error, rel=1e-3)


def test_a_fit_goes_on_from_the_steps_that_another_path_shares(model):
    search = Search(model, follow(model, 16, kept=16))
    last, calls = len(search.trajectories.times) - 1, []
    predict = search.trajectories.predict
    counted = dataclasses.replace(
        search.trajectories, predict=lambda *given: [calls.append(1), predict(*given)][1]
    )
    search.trajectories = counted
    near = search.fit((0, 10, 20, 40, last))
    for path, expected in [
        ((0, 10, 20, 41, last), 1),
        ((0, 10, 22, 40, last), 2),
        ((0, 9, 20, 40, last), 3),
    ]:
        calls.clear()
        found = search.fit(path, near)
        assert len(calls) == expected
        alone = search.fit(path)
        assert found.error == alone.error
        assert found.sampler == alone.sampler
        assert (found.path, len(found.steps)) == (path, 4)


@pytest.mark.backend
def test_tuned_samplers_are_saved_with_the_model(model, found, tmp_path):
    images = model.generate(2, 3, "tuned", seed=5)
    np.testing.assert_array_equal(images, model.generate(2, 3, found[1].sampler, seed=5))
    model.save(tmp_path / "m.keras")
    for loaded in (runs.load_model(tmp_path / "m.keras"), keras.saving.load_model(tmp_path / "m.keras")):  # fmt: skip
        assert loaded.tuned_samplers == model.tuned_samplers
        np.testing.assert_allclose(loaded.generate(2, 3, "tuned", seed=5), images, atol=1e-5)
    assert model.averaged().tuned_samplers == model.tuned_samplers
    with pytest.raises(
        ValueError, match=r"tuned for diffusion_steps=4. Received.* 1, 3. Run: kddim"
    ):
        model.generate(2, 4, "tuned")
    with pytest.raises(ValueError, match="deterministic sampler to encode"):
        model.encode(images, 3, "tuned")


def test_models_that_were_not_tuned_are_saved_as_before(model):
    assert "tuned_samplers" not in model.get_config()
    with pytest.raises(ValueError, match="tuned for none"):
        model.generate(2, 4, "tuned")
    rates = samplers.get("tuned").rates(model.schedule, 3)
    with pytest.raises(ValueError, match="which a model decides"):
        samplers.get("tuned").coefficients(rates)


def test_searched_times_are_for_the_sampler(model):
    times = tuning.search_times(model, 4, num_images=8)
    assert len(times) == 5
    assert model.tuned_samplers != {}
    assert model.tuned_samplers[4] == samplers.IPNDM(times=times)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "diffusion_steps.*1"),
        ((21,), "diffusion_steps.*20"),
        ((3, "ddpm"), "deterministic sampler to tune"),
        ((3, "unknown"), "Unknown sampler"),
    ],
)
def test_what_cannot_be_tuned_is_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        tuning.search_times(model, *arguments, num_images=8)
    with pytest.raises(ValueError, match=r"num_images.*8"):
        tuning.search_times(model, 3, num_images=7)
    assert model.tuned_samplers == {}


def test_a_schedule_without_any_signal_is_refused():
    with pytest.raises(ValueError, match="some signal at time 1"):
        follow(Gaussian(schedules.CosineSchedule(0.0)), 8)


# Files and the command line.


@pytest.fixture
def run(model, tmp_path):
    """A folder like that of a run, with an optimiser in its model."""
    folder = tmp_path / "run"
    folder.mkdir()
    model.save(folder / "model.keras")
    return folder


def call(*words):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(word) for word in words])
    return stopped.value.code


def test_tune_keeps_what_it_finds_in_a_run(run, model, capsys):
    before = (run / "model.keras").read_bytes()
    assert call("tune", run, "--diffusion-steps", "2,3", "-n", 8) == 0
    printed = capsys.readouterr().out
    assert "2 steps: LinearMultistep(" in printed
    assert [line.split()[0] for line in printed.splitlines() if line.strip()[:2].strip().isdigit() and "steps:" not in line] == ["2", "3", "20"]  # fmt: skip
    loaded = runs.load_model(run)
    assert sorted(loaded.tuned_samplers) == [2, 3]
    for one, other in zip(loaded.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(one, other)
    rows = json.loads((run / "samplers.json").read_text())
    assert sorted(rows) == ["2", "3"]
    assert all(row["error"] > 0 for row in rows.values())
    assert samplers.get(rows["3"]["sampler"]) == loaded.tuned_samplers[3]
    # The rest of the file is as it was.
    assert (run / "model.keras").stat().st_size - len(before) < 5000
    assert call("tune", run, "--diffusion-steps", "4", "-n", 8, "--sampler", "ipndm:order=2") == 0
    loaded = runs.load_model(run)
    assert sorted(loaded.tuned_samplers) == [2, 3, 4]
    assert loaded.tuned_samplers[4].order == 2
    assert call("generate", run, "--sampler", "tuned", "--diffusion-steps", 3, "-n", 2, "--output", run / "g.npz") == 0  # fmt: skip
    made = np.load(run / "g.npz")["images"]
    wanted = loaded.generate(2, 3, "tuned", seed=0)
    np.testing.assert_allclose(made / 255.0, wanted, atol=0.6 / 255.0)


def test_tune_writes_a_copy(run, tmp_path, capsys):
    before = (run / "model.keras").read_bytes()
    copy = tmp_path / "copy.keras"
    assert call("tune", run, "--diffusion-steps", "2", "-n", 8, "--output", copy) == 0
    assert (run / "model.keras").read_bytes() == before
    assert sorted(runs.load_model(copy).tuned_samplers) == [2]
    assert call("tune", run, "-n", 8, "--output", copy) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert call("tune", run, "-n", 8, "--output", tmp_path / "copy.png") == 2
    assert "ends in .keras" in capsys.readouterr().err


def test_a_preset_is_not_changed(model, tmp_path, capsys):
    folder = tmp_path / "preset"
    kddim.presets.pack(model, folder, num_images=2, diffusion_steps=1)
    assert call("tune", folder, "-n", 8) == 2
    assert "--output FILE.keras" in capsys.readouterr().err


def test_a_preset_keeps_the_samplers_of_its_model(model, found, tmp_path):
    folder = kddim.presets.pack(model, tmp_path / "preset", num_images=2, diffusion_steps=1)
    loaded = kddim.DiffusionModel.from_preset(folder)
    assert loaded.tuned_samplers == {one.diffusion_steps: one.sampler for one in found}


def test_a_damaged_sampler_in_a_file_is_told(run):
    found = types.SimpleNamespace(diffusion_steps=3, sampler=samplers.DDIM(), error=0.1)
    tuning.keep(run, [found])
    assert runs.load_model(run).tuned_samplers == {3: samplers.DDIM()}
    model = runs.load_model(run)
    with pytest.raises(ValueError, match="Unknown sampler"):
        model.tuned_samplers = {3: {"class_name": "Nothing", "config": {}}}
    assert model.tuned_samplers == {3: samplers.DDIM()}


TINY = {
    "widths": (4, 8), "block_depth": 1, "epochs": 1, "steps_per_epoch": 2, "kid_encoder": "none",
}  # fmt: skip


def test_a_run_tunes_its_model_at_the_end(tmp_path):
    config = training.TrainingConfig("digits", **TINY, tune_steps=(2, 3))
    run = training.train(config, tmp_path / "run", verbose=0)
    model = runs.load_model(run)
    assert {steps: sampler.start for steps, sampler in model.tuned_samplers.items()} == {2: 0.9, 3: 0.9}  # fmt: skip
    assert sorted(json.loads((run / "samplers.json").read_text())) == ["2", "3"]
    expected = tuning.tune(model, (2, 3), num_images=128, start=0.9, keep_in_model=False)
    for one in expected:
        assert model.tuned_samplers[one.diffusion_steps] == one.sampler
    assert np.array_equal(model.generate(2, 3, "auto", seed=1), model.generate(2, 3, "tuned", seed=1))  # fmt: skip
    # More epochs tune the model that is there then.
    training.resume(run, epochs=2, verbose=0)
    assert sorted(runs.load_model(run).tuned_samplers) == [2, 3]


def test_a_run_with_labels_is_tuned_from_the_noise(tmp_path):
    config = training.TrainingConfig("digits", **TINY, labels=True, tune_steps=(2,))
    model = runs.load_model(training.train(config, tmp_path / "run", verbose=0))
    assert model.tuned_samplers[2].times[0] == 1.0


def test_a_run_that_cannot_be_tuned_is_not_lost(tmp_path, caplog):
    options = {"schedule": "flow_matching", "prediction_type": "flow", "labels": True}
    config = training.TrainingConfig("digits", **TINY, **options, tune_steps=(2,))
    run = training.train(config, tmp_path / "run", verbose=0)
    assert "not tuned: Expected a schedule with some signal at time 1" in caplog.text
    assert runs.load_model(run).tuned_samplers == {}
    assert json.loads((run / "state.json").read_text())["finished"]

"""Averages of several lengths while training, and the reconstruction of others afterwards."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_model

from kddim import averages, cli, data, runs, training
from kddim.backend import to_numpy
from kddim.callbacks import PowerAverageCallback, RunCheckpoint
from kddim.power_average import combine, decay, gamma_of
from kddim.snapshots import Snapshot, SnapshotFolder, read_snapshot
from kddim.training import TrainingConfig

SMALL = {
    "source": "digits", "widths": (4, 8), "block_depth": 1, "epochs": 3, "steps_per_epoch": 4,
    "batch_size": 16, "kid_encoder": "random_conv", "kid_images": 16, "kid_steps": 2, "every": 1,
    "checkpoint_steps": 3, "limit": 200, "power_ema": True,
}  # fmt: skip


class Recorder(keras.callbacks.Callback):
    """Keeps the weights after each step, as the oracle averages them in float64."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        network = self.model.network
        self.weights.append(flat(network))

    def average(self, length):
        average = 0.0
        for step, weights in enumerate(self.weights, 1):
            kept = decay(step, gamma_of(length))
            average = kept * average + (1.0 - kept) * weights
        return average


def flat(network):
    """All variables of a network of floats, in one vector."""
    variables = [v for v in network.variables if keras.backend.is_float_dtype(v.dtype)]
    return np.concatenate([to_numpy(v.value).astype("float64").ravel() for v in variables])


def dataset(images, **options):
    return data.ImageDataset(images, 16, training=True, steps_per_epoch=5, seed=3, **options)


def arrays_of(folder):
    return {
        path.name: read_snapshot(path).values for path in SnapshotFolder(folder).paths().values()
    }


@pytest.mark.backend
def test_the_compiled_update_is_that_of_the_definition(images, tmp_path):
    model, recorder = make_model(images, widths=(4,)), Recorder()
    model.compile(keras.optimizers.Adam(1e-2))
    average = PowerAverageCallback(tmp_path, (0.05, 0.2))
    model.fit(dataset(images), epochs=2, verbose=0, callbacks=[recorder, average])
    found = read_snapshot(SnapshotFolder(tmp_path).paths()[10])
    assert (found.step, found.lengths) == (10, (0.05, 0.2))
    for length, values in zip(found.lengths, found.values):
        np.testing.assert_allclose(values, recorder.average(length), rtol=2e-5, atol=2e-6)
    assert model.power_averages is None
    model.fit(dataset(images), epochs=1, verbose=0)  # without the callback
    assert max(SnapshotFolder(tmp_path).paths()) == 10
    average.folder.folder.joinpath("step_00000010.npz").unlink()
    model.fit(dataset(images), epochs=1, verbose=0, callbacks=[recorder, average])
    (values, _) = read_snapshot(SnapshotFolder(tmp_path).paths()[15]).values
    np.testing.assert_allclose(values, recorder.average(0.05), rtol=2e-5, atol=2e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model after 30 steps, the weights of all steps, and the folder of its snapshots."""
    coarse = np.random.default_rng(0).random((64, 4, 4, 3)).astype("float32")
    images = coarse.repeat(2, axis=1).repeat(2, axis=2)
    folder = tmp_path_factory.mktemp("snapshots")
    model, recorder = make_model(images, widths=(4,)), Recorder()
    model.compile(keras.optimizers.Adam(3e-3))
    average = PowerAverageCallback(folder)
    model.fit(dataset(images), epochs=6, verbose=0, callbacks=[recorder, average])
    return model, recorder, folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the snapshots of `trained`."""
    return Path(shutil.copytree(trained[2], tmp_path / "averages"))


@pytest.mark.backend
def test_the_average_of_another_length_is_reconstructed(trained):
    model, recorder, folder = trained
    before = flat(model.network)
    found = averages.reconstruct(folder, 0.15, model)
    wanted = recorder.average(0.15)
    for network in (found.network, found.ema_network):
        assert np.linalg.norm(flat(network) - wanted) < 1e-4 * np.linalg.norm(wanted)
    np.testing.assert_array_equal(flat(model.network), before)
    assert int(found.ema_steps) == 30
    assert found.generate(2, 2, seed=0).std() > 0.0


def test_saved_files_do_not_grow_and_numbers_do_not_change(images, tmp_path):
    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save(path)

    results = []
    for name, extra in (("with", [PowerAverageCallback(tmp_path / "a")]), ("without", [])):
        path = tmp_path / f"{name}.keras"
        keras.utils.set_random_seed(0)
        model = make_model(images, widths=(4,), seed=1)
        model.fit(dataset(images), epochs=1, verbose=0, callbacks=[*extra, Save()])
        results.append((path.stat().st_size, flat(model.network), flat(model.ema_network)))
    (size, network, average), (other_size, other_network, other_average) = results
    assert size == other_size
    np.testing.assert_array_equal(network, other_network)
    np.testing.assert_array_equal(average, other_average)


class Killed(keras.callbacks.Callback):
    def __init__(self, epoch, step):
        super().__init__()
        self.place = (epoch, step)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            raise RuntimeError("killed")


@pytest.mark.backend
def test_averages_and_snapshots_survive_kills_bitwise(images, tmp_path):
    def fit(folder, killed=None, resume=False):
        keras.utils.set_random_seed(1)
        model = make_model(images, seed=7, widths=(4,))
        found = [PowerAverageCallback(folder / "a", snapshots=4)]
        found += [killed] if killed else []
        found += [RunCheckpoint(folder / "c", every_steps=4)]
        state = RunCheckpoint.restore(model, folder / "c") if resume else None
        start = state.epoch if state else 0
        model.fit(dataset(images), epochs=4, initial_epoch=start, verbose=0, callbacks=found)
        return arrays_of(folder / "a")

    wanted = fit(tmp_path / "whole")
    assert list(wanted) == [f"step_{step:08d}.npz" for step in (8, 16, 20)]
    run = tmp_path / "run"
    for number, place in enumerate([(1, 2), (3, 1)]):  # the second one at a snapshot
        with pytest.raises(RuntimeError, match="killed"):
            fit(run, Killed(*place), resume=number > 0)
    found = fit(run, resume=True)
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


def test_snapshots_stay_few_and_evenly_spaced(tmp_path):
    folder, before = SnapshotFolder(tmp_path, 8), 0
    for step in range(1, 203):
        due, before = folder.is_due(before, step), step
        if not due and step not in (7, 101, 202):  # ends of trainings
            continue
        folder.save(Snapshot(step, (0.1,), (1,), np.full((1, 1), step)))
        steps = list(folder.paths())
        assert len(steps) <= 9
        regular = [s for s in steps if s % folder.interval(step) == 0]
        assert regular == list(range(folder.interval(step), step + 1, folder.interval(step)))
        assert set(steps) - set(regular) <= {step}
    assert steps == [32, 64, 96, 128, 160, 192, 202]


def test_damaged_snapshots_are_passed_over_and_said(trained, folder, caplog):
    model, paths = trained[0], SnapshotFolder(folder).paths()
    content = bytearray(paths[4].read_bytes())
    content[len(content) // 2] ^= 1
    paths[4].write_bytes(content)
    assert averages.reconstruct(folder, 0.1, model)
    assert "step_00000004.npz" in caplog.text
    for path in paths.values():
        path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="snapshot of averages"):
        averages.reconstruct(folder, 0.1, model)


def test_other_models_and_other_trainings_are_refused(images, trained, folder, tmp_path):
    model, other = trained[0], make_model(images, widths=(6,))
    with pytest.raises(ValueError, match="network with other variables"):
        averages.reconstruct(folder, 0.1, other)
    with pytest.raises(ValueError, match="snapshots of another training"):
        other.fit(dataset(images), verbose=0, callbacks=[PowerAverageCallback(folder)])
    assert other.power_averages is None
    with pytest.raises(ValueError, match=r"snapshots of averages.*holds none"):
        averages.reconstruct(tmp_path / "nowhere", 0.1, model)
    with pytest.raises(ValueError, match="the lengths of the training that was stopped"):
        PowerAverageCallback(tmp_path, (0.1,)).set_state({"lengths": [0.05, 0.1]})
    for lengths in ((), (0.1, 0.1), (0.5,)):
        with pytest.raises(ValueError, match=r"lengths|length of an average"):
            PowerAverageCallback(tmp_path, lengths)


def test_a_variance_never_becomes_negative(trained, folder):
    for step, path in SnapshotFolder(folder).paths().items():
        snapshot = read_snapshot(path)
        bad = np.full_like(snapshot.values, -1.0)
        SnapshotFolder(folder).save(Snapshot(step, snapshot.lengths, snapshot.sizes, bad))
    found = averages.reconstruct(folder, 0.2, trained[0]).ema_network
    for variable in found.variables:
        lowest = 0.0 if variable.name.endswith("variance") else -1.0
        np.testing.assert_allclose(to_numpy(variable.value), lowest, atol=1e-5)


# Runs, and the command line


def kddim(*arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    return stopped.value.code


def train(folder, **options):
    return training.train(TrainingConfig(**(SMALL | options)), folder, verbose=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "run")


def test_a_run_keeps_averages_and_its_protocol_is_that_of_val_kid(run):
    assert list(SnapshotFolder(run / "averages").paths()) == list(range(1, 13))
    before = (run / "model.keras").read_bytes()
    first, *others = averages.measure(run, (0.1, 0.2))
    assert first.length is None
    config = json.loads((run / "config.json").read_text())
    assert first.kid == pytest.approx(config["kid"]["best"], rel=1e-3)
    assert [row.length for row in others] == [0.1, 0.2]
    assert all(np.isfinite([row.kid, row.kid_std]).all() for row in others)
    assert (run / "model.keras").read_bytes() == before


@pytest.mark.slow
def test_a_run_is_extended_and_a_run_without_checkpoints_starts_again(tmp_path):
    folder = train(tmp_path / "run", epochs=1, kid_encoder="none")
    training.resume(folder, epochs=2, verbose=0)
    assert max(SnapshotFolder(folder / "averages").paths()) == 8
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    training.resume(folder, epochs=1, verbose=0)
    assert list(SnapshotFolder(folder / "averages").paths()) == [1, 2, 3, 4]


def test_the_command_measures_and_writes_the_best(run, tmp_path, capsys):
    output = tmp_path / "best.keras"
    assert (
        kddim("ema", run, "--length", "0.05,0.2", "-n", 8, "--diffusion-steps", 1, "-o", output)
        == 0
    )
    printed = capsys.readouterr().out
    rows = {cells[0]: float(cells[1]) for line in printed.splitlines() if len(cells := line.split()) == 3 and cells[0] in ("model.keras", "0.05", "0.2")}  # fmt: skip
    assert len(rows) == 3
    best = min(("0.05", "0.2"), key=rows.get)
    assert f"average of length {best}: {output}" in printed
    found, wanted = runs.load_model(output), averages.reconstruct(run, float(best))
    np.testing.assert_array_equal(flat(found.ema_network), flat(wanted.ema_network))
    assert kddim("ema", run, "--length", "0.1", "--no-kid", "-o", output) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_the_model_of_a_run_is_replaced_only_on_request(run, tmp_path, capsys):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    before = (folder / "model.keras").read_bytes()
    assert kddim("ema", folder, "--length", "0.1", "--no-kid") == 0
    assert "nothing was written" in capsys.readouterr().out
    assert (folder / "model.keras").read_bytes() == before
    assert kddim("ema", folder, "--length", "0.1", "--no-kid", "--overwrite") == 0
    wanted = averages.reconstruct(folder, 0.1)
    np.testing.assert_array_equal(flat(runs.load_model(folder).network), flat(wanted.network))
    assert runs.describe(folder)["average length"] == "0.1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--length", "0.5"], "length of an average"),
        (["--length", "a"], "numbers separated by commas"),
        (["--no-kid"], "one --length"),
        (["--output", "m.h5"], "ends in .keras"),
        (["--num-images", 1], "4"),
    ],
)
def test_bad_arguments_are_one_line(run, arguments, words, capsys):
    assert kddim("ema", run, *arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_run_without_averages_says_so(run, tmp_path, capsys):
    assert TrainingConfig().power_ema is False
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(folder / "averages")
    assert kddim("ema", folder) == 2
    assert "--power-ema" in capsys.readouterr().err


def test_float16_would_be_the_largest_part_of_the_error():
    """The reason why snapshots are float32."""
    random, ends = np.random.default_rng(0), np.repeat(np.arange(1, 33) * 32, 2)
    walk = 1.0 + 0.3 * np.cumsum(random.standard_normal((1024, 100)), axis=0) / 32
    steps = np.arange(1, 1025)

    def profile(end, length):
        power = gamma_of(length) + 1.0
        return np.where(steps <= end, (steps / end) ** power - ((steps - 1) / end) ** power, 0.0)

    stored = np.array([profile(end, v) for end, v in zip(ends, (0.05, 0.1) * 32)]) @ walk
    weights, _ = combine(ends, (0.05, 0.1) * 32, 1024, 0.03)
    wanted = profile(1024, 0.03) @ walk
    single, half = (
        np.linalg.norm(weights @ stored.astype(dtype).astype("float64") - wanted)
        for dtype in ("float32", "float16")
    )
    assert half > 5 * single

"""Absurd arguments, outputs that cannot be written, and numbers that are not finite."""

import resource

import numpy as np
import pytest
from conftest import make_model

import kddim
from kddim import cli, evaluation
from kddim.experiments import Consistency, Generation, Interpolation, Reconstruction


def command(*words):
    """Exit status of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(word) for word in words])
    return stopped.value.code


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).random((8, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module")
def saved(tmp_path_factory, pixels):
    """A model file for digits."""
    path = tmp_path_factory.mktemp("saved") / "m.keras"
    make_model(pixels, widths=(4, 8)).save(path)
    return path


HUGE = 10**12
noise = np.random.default_rng(1).standard_normal((2, 16, 16, 3)).astype("float32")


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: m.generate(HUGE), "`num_images` to be at most 10,000,000. Received: 1,000,000"),
        (lambda m: m.generate(2, HUGE), "`diffusion_steps` to be at most 100,000"),
        (lambda m: m.generate(2, batch_size=HUGE), "`batch_size` to be at most"),
        (lambda m: m.generate(-2), "at least 1"),
        (lambda m: m.generate(2, eta=float("nan")), "`eta`"),
        (lambda m: m.generate(2, sampler=kddim.samplers.Heun(order=10**9)), "order"),
        (lambda m: m.generate(2, sampler=kddim.samplers.DPMSolverPP(order=10**9)), "`order`"),
        (lambda m: m.interpolate(*noise, num_images=HUGE), "`num_images` to be at most"),
        (lambda m: m.encode(np.zeros((1, 16, 16, 3)), HUGE), "`diffusion_steps` to be at most"),
        (lambda m: m.decode(noise, 2, batch_size=HUGE), "`batch_size` to be at most"),
        (lambda m: kddim.DiffusionModel(10**6), "free memory"),
        (lambda m: kddim.DiffusionModel(16, block_depth=10**5), "at most 1,000 residual blocks"),
        (lambda m: kddim.DiffusionModel(16, channels=10**9), "free memory"),
        (lambda m: kddim.DiffusionModel(16, (10**6, 10**6)), "free memory"),
        (lambda m: kddim.DiffusionModel(16, network=5), "a Keras model. Received: 5"),
        (lambda m: kddim.networks.residual_unet(16, embedding_dims=10**10), "from 4 to 65,536"),
        (lambda m: kddim.schedules.LinearBetaSchedule(10**10), "`num_timesteps` to be at most"),
        (lambda m: Generation(model=m, num_images=HUGE), "`num_images` to be at most"),
        (lambda m: Consistency(model=m, steps=(2, HUGE)), "`diffusion_steps` to be at most"),
        (lambda m: Interpolation(model=m, grid_size=100_000), "`grid_size` to be at most 1,000"),
        (lambda m: Interpolation(model=m, num_pairs=10**6, num_images=10**6), "free memory"),
        (lambda m: evaluation.evaluate(m, "digits", num_images=HUGE), "`num_images` to be at most"),
    ],
)
def test_absurd_arguments_are_refused_before_memory_is_taken(model, call, match):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((ValueError, TypeError), match=match):
        call(model)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100e3


def test_images_and_batches_must_fit_in_the_free_memory(model, monkeypatch):
    monkeypatch.setenv("KDDIM_MEMORY", str(10**7))
    with pytest.raises(ValueError, match=r"10,000 images of 16x16x3 to fit.*30\.7 MB.*`start`"):
        model.generate(10_000)
    with pytest.raises(ValueError, match=r"a batch of 1,500 images.*--batch-size"):
        model.generate(1_500, batch_size=1_500)
    with pytest.raises(ValueError, match="noises and images to fit"):
        Interpolation(model=model, grid_size=60)
    assert model.generate(2, 1, seed=0).shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "MODEL", "-n", HUGE, "-o", "OUT"],
        ["generate", "MODEL", "-n", -1, "-o", "OUT"],
        ["generate", "MODEL", "--diffusion-steps", 10**9, "-o", "OUT"],
        ["generate", "MODEL", "--batch-size", HUGE, "-o", "OUT"],
        ["generate", "MODEL", "--eta", "nan", "-o", "OUT"],
        ["generate", "MODEL", "--sampler", "adams_bashforth:order=1000000000", "-o", "OUT"],
        ["interpolate", "MODEL", "--grid-size", 100_000, "-o", "OUT"],
        ["interpolate", "MODEL", "--num-pairs", 10**9, "-o", "OUT"],
        ["consistency", "MODEL", "--steps", f"2,{10**9}", "-o", "OUT"],
        ["consistency", "MODEL", "-n", HUGE, "-o", "OUT"],
        ["reconstruct", "MODEL", "digits", "--steps", 10**9, "-o", "OUT"],
        ["evaluate", "MODEL", "digits", "-n", HUGE],
        ["evaluate", "MODEL", "digits", "--diffusion-steps", 10**9],
        ["sweep", "MODEL", "digits", "--steps", 10**9, "-o", "OUT"],
    ],
    ids=lambda words: " ".join(map(str, words[::2]))[:40],
)
def test_commands_with_absurd_arguments_are_refused(saved, tmp_path, capsys, words):
    names = {"MODEL": saved, "OUT": tmp_path / "out"}
    assert command(*(names.get(word, word) for word in words)) == 2
    error = capsys.readouterr().err
    assert "kddim: error:" in error.splitlines()[-1]
    assert "Expected" in error.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["evaluate", "compare", "stats"])
def test_outputs_are_checked_before_anything_is_computed(
    saved, tmp_path, capsys, monkeypatch, verb
):
    def computed(*arguments, **options):
        raise AssertionError("computed before the output was checked")

    monkeypatch.setattr(kddim.runs, "load_model", computed)
    for name in ("compare", "evaluate", "make_reference"):
        monkeypatch.setattr(evaluation, name, computed)
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    (tmp_path / "file").write_text("")
    words = {
        "evaluate": ["evaluate", saved, "digits", "-o"],
        "compare": ["compare", "digits", "digits", "-o"],
        "stats": ["stats", "digits", "-o"],
    }[verb]
    for output in (folder, tmp_path / "file" / "s.npz"):
        assert command(*words, output, "--overwrite") == 2
        error = capsys.readouterr().err
        assert "Expected a f" in error
        assert error.count("\n") == 1


def test_images_that_are_not_finite_are_refused(pixels, tmp_path):
    """Finite weights that are too large give infinite images, not white ones."""
    model = make_model(pixels, widths=(4, 8))
    model.ema_network.set_weights([1e30 * w for w in model.ema_network.get_weights()])
    assert np.isnan(model.generate(2, 2, seed=0)).any()
    for make in (
        lambda: Generation(model=model, num_images=2, diffusion_steps=2),
        lambda: Consistency(model=model, num_images=2, steps=(1, 2)),
        lambda: Interpolation(model=model, num_images=2, num_pairs=1, grid_size=2),
        lambda: Reconstruction(model=model, images=pixels, steps=(2,)),
    ):
        with pytest.raises(ValueError, match=r"NaN or infinity in \d of \d"):
            make().run(tmp_path / "out", overwrite=True)
    options = {"num_images": 8, "encoder": "random_conv", "diffusion_steps": 2}
    with pytest.raises(ValueError, match="NaN or infinit"):
        evaluation.evaluate(model, "digits", **options)

"""Labelled digits and those of NCSN, judged by classifiers of the real ones."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from kddim import data, evaluation, runs, samplers, training

pytestmark = pytest.mark.slow

LABELS = np.arange(1000) % 10


@pytest.fixture(scope="module")
def real():
    digits = load_digits()
    return digits.images.reshape(-1, 64) / 16.0, digits.target


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    config = training.TrainingConfig(labels=True, epochs=150, kid_encoder="none", every=50)
    folder = tmp_path_factory.mktemp("labelled") / "run"
    return runs.load_model(training.train(config, folder, verbose=2))


@pytest.mark.parametrize(("scale", "share"), [(1.0, 0.92), (1.5, 0.97)])
def test_images_are_the_digits_that_were_asked_for(labelled, real, scale, share):
    pixels, target = real
    judge = SVC(C=10, gamma=0.256).fit(pixels, target)
    options = {"labels": LABELS, "guidance_scale": scale, "seed": 1}
    images = labelled.generate(1000, 20, **options).reshape(1000, 64)
    right = (judge.predict(images) == LABELS).mean()
    spread = np.sqrt(images.var(axis=0).sum() / pixels.var(axis=0).sum())
    print(f"scale {scale}: {100 * right:.1f} % right, spread {spread:.3f}")
    assert right >= share
    assert 0.9 < spread < 1.1


def test_labels_make_no_worse_pictures(labelled):
    options = {"num_images": 1797, "split": "all", "encoder": "random_conv", "floor": False}
    plain, with_labels = (
        evaluation.evaluate(labelled, "digits", labels=labels, **options)
        for labels in (False, True)
    )
    print(f"KID without labels {plain['kid']:.5f}, with them {with_labels['kid']:.5f}")
    assert with_labels["kid"] < plain["kid"] + 2.0 * plain["kid_std"]


@pytest.fixture(scope="module")
def ncsn(tmp_path_factory):
    config = training.TrainingConfig(
        schedule="geometric", loss="mean_squared_error", epochs=150, kid_encoder="none", every=50
    )
    folder = tmp_path_factory.mktemp("ncsn") / "run"
    return runs.load_model(training.train(config, folder, verbose=2))


def test_annealed_langevin_dynamics_give_recognisable_digits(ncsn, real):
    pixels, target = real
    seen, held_out, labels, _ = train_test_split(pixels, target, random_state=0)
    judge = MLPClassifier((128,), max_iter=400, random_state=0).fit(seen, labels)
    images = ncsn.generate(500, 10, samplers.AnnealedLangevin(), seed=0).reshape(500, 64)
    found, wanted = (judge.predict_proba(x).max(axis=1).mean() for x in (images, held_out))
    print(f"confidence {found:.3f}, of real digits {wanted:.3f}")
    assert found >= 0.9 * wanted


def test_the_likelihood_falls_with_corruption(ncsn):
    images = data.load("digits", 8)[1].images[:64]
    random = np.random.default_rng(0)
    corrupted = [
        np.clip(images + level * random.standard_normal(images.shape), 0, 1).astype("float32")
        for level in (0.0, 0.05, 0.1, 0.2, 0.4)
    ]
    bits = [ncsn.log_likelihood(part, 50, seed=0, dequantize=True).mean() for part in corrupted]
    print(f"bits per dimension {np.round(bits, 3)}")
    assert bits == sorted(bits)

"""The demo's model makes digits: a classifier trained on the real ones is the judge."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from kddim import runs, training


@pytest.mark.slow
def test_generated_digits_convince_a_classifier_and_vary(tmp_path):
    config = training.TrainingConfig(kid_encoder="random_conv", kid_images=500, kid_steps=10)
    model = runs.load_model(training.train(config, tmp_path / "run", verbose=2))
    generated = model.generate(1000, 20, seed=0).reshape(1000, 64)

    digits = load_digits()
    pixels = digits.images.reshape(-1, 64) / 16.0
    seen, held_out, labels, _ = train_test_split(pixels, digits.target, random_state=0)
    classifier = MLPClassifier((128,), max_iter=400, random_state=0).fit(seen, labels)
    real_confidence = classifier.predict_proba(held_out).max(axis=1).mean()
    probabilities = classifier.predict_proba(generated)
    shares = np.bincount(probabilities.argmax(axis=1), minlength=10) / 1000
    print(f"confidence {probabilities.max(axis=1).mean():.3f}, of real ones {real_confidence:.3f}")
    print(f"shares {shares}")
    assert probabilities.max(axis=1).mean() > 0.93 * real_confidence
    assert shares.min() > 0.03
    assert shares.max() < 0.2
    # As varied as real ones, and no copies of them.
    spread = np.sqrt(generated.var(axis=0).sum() / pixels.var(axis=0).sum())
    distances = np.linalg.norm(generated[:200, None] - pixels[None], axis=2).min(axis=1)
    print(f"spread {spread:.3f}, nearest real digit {np.median(distances):.2f}")
    assert 0.9 < spread < 1.1
    assert np.median(distances) > 0.3

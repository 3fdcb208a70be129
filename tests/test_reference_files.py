"""Files of reference statistics that are damaged, or made to harm."""

import json

import numpy as np
import pytest

from kddim import evaluation, metrics
from kddim.metrics import reference_files
from kddim.metrics.encoders import Encoder


def flat(images):
    return images.reshape(len(images), -1)


@pytest.fixture(scope="module")
def statistics(tmp_path_factory):
    """Arrays of a file of statistics, and their description."""
    options = {"num_images": 20, "split": "all", "encoder": "random_conv"}
    made = evaluation.make_reference("digits", (8, 8, 1), **options)
    path = metrics.save_reference(made, tmp_path_factory.mktemp("statistics") / "s.npz")
    with np.load(path) as content:
        arrays = dict(content)
    return arrays, json.loads(str(arrays.pop("kddim_reference")))


def not_finite(arrays):
    features = arrays["features"].copy()
    features[0, 0] = np.nan
    return {"features": features}


DAMAGE = {
    "a list": (None, [1]),
    "a number": (None, 5),
    "protocol foo": (None, {"protocol": "foo"}),
    "protocol 5": (None, {"protocol": 5}),
    "no encoder": (None, {"encoder": None}),
    "encoder options": (None, {"encoder_options": {"identifier": "random_conv", "x": 1}}),
    "encoder list": (None, {"encoder_options": [1]}),
    "no identifier": (None, {"encoder_options": {}}),
    "another identifier": (None, {"encoder_options": {"identifier": 5}}),
    "a huge encoder": (
        None,
        {"encoder_options": {"identifier": "inception_v3", "image_size": 10**9}},
    ),
    "images": (None, {"images": "20"}),
    "more images": (None, {"images": 10**12}),
    "negative images": (None, {"images": -1}),
    "true": (None, {"images": True}),
    "description": (None, {"description": "x"}),
    "remarks": (None, {"remarks": None}),
    "fingerprint": (None, {"fingerprint": 1}),
    "a vector": (lambda a: {"features": np.zeros(20, "float32")}, {}),
    "integers": (lambda a: {"features": np.zeros((20, 3), "int32")}, {}),
    "words": (lambda a: {"features": np.full((20, 3), "x")}, {}),
    "NaN": (not_finite, {}),
    "a small covariance": (
        lambda a: {"mu": np.zeros(3), "sigma": np.zeros((3, 2))},
        {"images": 30},
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_statistics_are_refused_before_an_encoder_is_built(
    statistics, tmp_path, monkeypatch, name
):
    def built(*arguments, **options):
        raise AssertionError("an encoder was built")

    arrays, about = statistics
    change, words = DAMAGE[name]
    arrays = arrays | (change(arrays) if change else {})
    about = about | words if isinstance(words, dict) else words
    path = tmp_path / "s.npz"
    np.savez(path, **arrays, kddim_reference=json.dumps(about))
    if "encoder" not in name and "identifier" not in name:
        monkeypatch.setattr(reference_files, "rebuild", built)
    with pytest.raises(ValueError, match=r"Expected|Unknown") as caught:
        metrics.load_reference(path)
    assert "\n" not in str(caught.value)


def test_a_description_that_lacks_anything_is_refused(statistics, tmp_path):
    arrays, about = statistics
    for name in about:
        lacking = {key: value for key, value in about.items() if key != name}
        np.savez(tmp_path / "s.npz", **arrays, kddim_reference=json.dumps(lacking))
        with pytest.raises(ValueError, match="Expected"):
            metrics.load_reference(tmp_path / "s.npz")


def test_text_that_is_no_description_is_refused(statistics, tmp_path):
    arrays, _ = statistics
    for value in ("{", "[" * 10**5, 5, np.array(["{}"]), np.array("x" * 2 * 10**6)):
        np.savez(tmp_path / "s.npz", **arrays, kddim_reference=value)
        with pytest.raises(ValueError, match="missing, damaged or truncated"):
            metrics.load_reference(tmp_path / "s.npz")


def test_good_statistics_of_another_encoder_still_load(statistics, tmp_path):
    arrays, about = statistics
    about = about | {"encoder": "flat", "encoder_options": None}
    np.savez(tmp_path / "s.npz", **arrays, kddim_reference=json.dumps(about))
    loaded = metrics.load_reference(tmp_path / "s.npz", Encoder("flat", flat))
    assert loaded.count == 20

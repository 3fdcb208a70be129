"""Tests of noise from seeds and of spherical interpolation."""

import hashlib

import numpy as np
import pytest

from kddim import latents


def test_an_image_depends_on_seed_and_index_alone():
    whole = latents.initial_noise(10, (4, 6, 3), seed=7)
    assert whole.shape == (10, 4, 6, 3)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole[3:7], latents.initial_noise(4, (4, 6, 3), 7, start=3))


def test_other_seeds_indices_and_draws_give_other_noise():
    noises = [
        latents.noise(1, (8, 8, 1), seed=0),
        latents.noise(1, (8, 8, 1), seed=1),
        latents.noise(1, (8, 8, 1), seed=-1),
        latents.noise(1, (8, 8, 1), seed=0, start=1),
        latents.noise(1, (8, 8, 1), seed=0, draw=1),
        latents.noise(1, (8, 8, 1), seed=2**40),
    ]
    flat = np.array([n.ravel() for n in noises])
    correlations = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(correlations).max() < 0.5


def test_noise_is_standard_normal():
    noise = latents.initial_noise(200, (16, 16, 3), seed=0)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1.0) < 0.01
    assert abs(np.mean(noise**4) - 3.0) < 0.05


def test_the_noise_of_a_seed_stays_what_it_was():
    # Published seeds must keep their pictures. If this test fails, the normal generator of NumPy
    # has changed, and the changelog must say so.
    noise = latents.initial_noise(2, (4, 4, 3), seed=42)
    digest = hashlib.sha256(np.round(noise, 4).astype("<f4").tobytes()).hexdigest()
    assert digest[:16] == "404a6cc8dcd91853"


def test_fresh_seeds_follow_the_global_seed():
    import keras

    keras.utils.set_random_seed(3)
    first = latents.resolve_seed(None)
    assert first != latents.resolve_seed(None)
    keras.utils.set_random_seed(3)
    assert first == latents.resolve_seed(None)


@pytest.mark.parametrize("seed", [1.5, "1", True])
def test_seeds_are_integers(seed):
    with pytest.raises(ValueError, match="`seed` to be an int"):
        latents.initial_noise(1, (2, 2, 1), seed)


@pytest.mark.parametrize(
    "picture", [np.zeros((8, 8, 1)), np.random.default_rng(0).random((4, 4, 3))]
)
def test_pictures_are_no_noise(picture):
    match = r"`start_noise` to be standard normal.*Received: values from 0.*model\.encode\(images\)"
    with pytest.raises(ValueError, match=match):
        latents.check_noise(picture, "start_noise")


def test_noise_of_any_size_passes_as_it_is():
    for shape in ((1, 1, 1), (4, 4, 2), (16, 16, 3)):
        for noise in latents.initial_noise(100, shape, seed=0):
            assert latents.check_noise(noise, "noise") is noise
    import keras

    tensor = keras.ops.convert_to_tensor(noise)
    np.testing.assert_array_equal(latents.check_noise(tensor, "noise"), noise)


def test_slerp_ends_keep_and_the_norm_stays():
    start, end = latents.initial_noise(2, (16, 16, 3), seed=0)
    path = latents.slerp(start, end, np.linspace(0, 1, 9))
    assert path.shape == (9, 16, 16, 3)
    np.testing.assert_allclose(path[0], start, atol=1e-6)
    np.testing.assert_allclose(path[-1], end, atol=1e-6)
    norms = np.linalg.norm(path.reshape(9, -1), axis=1)
    np.testing.assert_allclose(norms, np.linspace(norms[0], norms[-1], 9), rtol=0.02)


def test_slerp_halves_the_angle():
    middle = latents.slerp(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 0.5)
    np.testing.assert_allclose(middle, [np.sqrt(0.5)] * 2)


def test_slerp_of_a_noise_with_itself_is_that_noise():
    noise = latents.initial_noise(1, (4, 4, 1), seed=0)[0]
    np.testing.assert_allclose(latents.slerp(noise, noise, [0.0, 0.3, 1.0]), [noise] * 3)


def test_slerp_of_integers_and_of_opposites():
    np.testing.assert_allclose(latents.slerp([1, 0], [0, 1], 0.5), [np.sqrt(0.5)] * 2)
    with pytest.raises(ValueError, match="opposite"):
        latents.slerp([1.0, 0.0], [-1.0, 0.0], 0.5)


def test_slerp_refuses_two_shapes():
    with pytest.raises(ValueError, match=r"start \(2,\), end \(3,\)"):
        latents.slerp(np.zeros(2), np.zeros(3), 0.5)


def test_slerp_grid_interpolates_between_four_corners():
    corners = latents.initial_noise(4, (4, 4, 1), seed=0)
    noises = latents.slerp_grid(corners, 3, 5)
    assert noises.shape == (3, 5, 4, 4, 1)
    np.testing.assert_allclose(noises[[0, 0, -1, -1], [0, -1, 0, -1]], corners, atol=1e-6)
    np.testing.assert_allclose(
        noises[0], latents.slerp(*corners[:2], np.linspace(0, 1, 5)), atol=1e-6
    )
    middle = latents.slerp(*latents.slerp(corners[:2], corners[2:], 0.5), 0.5)
    assert noises[1, 2].shape == middle.shape


@pytest.mark.parametrize(("corners", "rows"), [(3, 3), (4, 1)])
def test_slerp_grid_refuses_what_is_no_grid(corners, rows):
    noises = latents.initial_noise(corners, (4, 4, 1), seed=0)
    with pytest.raises(ValueError, match="slerp_grid expects four corners"):
        latents.slerp_grid(noises, rows, 3)

"""Precision and recall, density and coverage, neighbours: against brute force and tools."""

import importlib

import numpy as np
import pytest
from oracles import oracle

from kddim.metrics import density_coverage, nearest_neighbours, precision_recall

module = importlib.import_module("kddim.metrics.nearest_neighbours")


def features(number, width=5, shift=0.0, scale=1.0, seed=0):
    return scale * np.random.default_rng(seed).standard_normal((number, width)) + shift


def scikit_distances(queries, references, k):
    neighbors = pytest.importorskip("sklearn.neighbors")
    found = neighbors.NearestNeighbors(n_neighbors=k, algorithm="brute").fit(references)
    return found.kneighbors(queries)


def brute_force(real, generated, k):
    """Both pairs of figures from their definitions, with scikit-learn's distances."""
    radii = [scikit_distances(x, x, k + 1)[0][:, k] for x in (real, generated)]
    mixed = pytest.importorskip("sklearn.metrics").pairwise_distances(generated, real)
    precision = (mixed <= radii[0]).any(1).mean()
    recall = (mixed <= radii[1][:, None]).any(0).mean()
    density = (mixed < radii[0]).sum() / (k * len(generated))
    return precision, recall, density, (mixed < radii[0]).any(0).mean()


SETS = [
    (features(60), features(40, shift=0.8, seed=1)),
    (features(30), features(90, scale=0.3, seed=1)),
    (features(50, 40), features(50, 40, scale=1.1, seed=1)),
    (features(50, 3) + 1e4, features(50, 3, 0.5, seed=1) + 1e4),
]


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("pair", range(len(SETS)))
def test_the_figures_are_their_definitions(pair, k, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    wanted = brute_force(*SETS[pair], k)
    found = precision_recall(*SETS[pair], k) + density_coverage(*SETS[pair], k)
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("pair", range(3))
def test_precision_and_recall_are_torch_fidelitys(pair, k):
    torch, prc = pytest.importorskip("torch"), oracle("torch_fidelity.metric_prc")
    real, generated = SETS[pair]
    sets = [torch.from_numpy(f) for f in (generated, real)]  # its first set is generated
    wanted = prc.prc_features_to_metric(*sets, prc_neighborhood=k, verbose=False)
    found = precision_recall(real, generated, k)
    assert found == pytest.approx((wanted["precision"], wanted["recall"]), abs=1e-6)


def test_a_set_is_as_precise_and_varied_as_itself():
    real = features(40)
    assert precision_recall(real, real) == (1.0, 1.0)
    assert density_coverage(real, real)[1] == 1.0


def test_sets_far_apart_share_nothing():
    real, generated = features(40), features(40, shift=100.0)
    assert precision_recall(real, generated) == (0.0, 0.0)
    assert density_coverage(real, generated) == (0.0, 0.0)


def test_a_dropped_mode_costs_recall_and_coverage_alone():
    real = np.concatenate([features(100), features(100, shift=50.0, seed=1)])
    generated = features(200, seed=2)
    precision, recall = precision_recall(real, generated)
    assert precision > 0.8
    assert recall < 0.55
    density, coverage = density_coverage(real, generated)
    assert density > 0.8
    assert coverage < 0.55


def test_noise_beside_the_data_costs_precision_and_density_alone():
    real = features(100)
    generated = np.concatenate([features(100, seed=1), features(100, shift=50.0, seed=2)])
    precision, recall = precision_recall(real, generated)
    assert precision < 0.55
    assert recall > 0.8
    density, coverage = density_coverage(real, generated)
    assert density < 0.6
    assert coverage > 0.8


def test_density_and_coverage_of_one_distribution_are_known():
    """Lemmas of the paper: density is 1, coverage 1 - (1 - 1/2)^k about, in expectation."""
    values = [density_coverage(features(200, seed=s), features(200, seed=s + 99)) for s in range(9)]
    density, coverage = np.mean(values, axis=0)
    assert density == pytest.approx(1.0, abs=0.1)
    assert coverage == pytest.approx(1 - 0.5**5, abs=0.03)


def test_copies_of_one_image_have_no_variety():
    real = features(50)
    precision, recall = precision_recall(real, np.repeat(real[:1], 30, axis=0))
    assert precision == 1.0
    assert recall == pytest.approx(1 / 50)


# nearest_neighbours


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
@pytest.mark.parametrize("k", [1, 4, 40])
def test_neighbours_are_scikit_learns(k, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    queries, references = features(25), features(40, seed=1)
    distances, indices = scikit_distances(queries, references, k)
    found = nearest_neighbours(queries, references, k)
    assert np.array_equal(found[0], indices)
    assert np.allclose(found[1], distances, rtol=1e-9)
    assert (found[0].dtype, found[1].dtype) == (np.int64, np.float64)


def test_a_copy_is_its_own_nearest_neighbour():
    references = features(30).astype("float32") + 100.0
    indices, distances = nearest_neighbours(references[[7, 3]], references)
    assert indices[:, 0].tolist() == [7, 3]
    assert distances.max() < 1e-6


def test_equal_distances_keep_the_order_of_the_references():
    references = np.array([[1.0], [-1.0], [1.0], [3.0], [-1.0], [-3.0]])
    indices, distances = nearest_neighbours([[0.0]], references, 3)
    assert indices.tolist() == [[0, 1, 2]]
    assert distances.tolist() == [[1.0, 1.0, 1.0]]


# Refused


@pytest.mark.parametrize("function", [precision_recall, density_coverage, nearest_neighbours])
def test_sets_that_do_not_fit_are_refused(function):
    for pair in [
        (features(9), features(9, 4)),
        (features(9), features(9)[0]),
        (features(9), features(0)),
    ]:
        with pytest.raises(ValueError, match=r"two sets of features \(n, d\) with one d"):
            function(*pair)
    spoilt = features(9)
    spoilt[3] = np.nan
    with pytest.raises(ValueError, match=r"Expected finite features\. Received: NaN"):
        function(features(9), spoilt)


@pytest.mark.parametrize("k", [0, -1, 9, 100])
def test_neighbours_out_of_range_are_refused(k):
    message = rf"Expected `k` from 1 to 8, the number of other real.*Received: {k}"
    for function in (precision_recall, density_coverage):
        with pytest.raises(ValueError, match=message):
            function(features(9), features(20), k)
    if k != 9:
        with pytest.raises(ValueError, match=rf"from 1 to 9, the number of references.*{k}"):
            nearest_neighbours(features(4), features(9), k)


def test_precision_wants_generated_neighbours_too():
    with pytest.raises(ValueError, match=r"from 1 to 2, the number of other generated"):
        precision_recall(features(9), features(3))

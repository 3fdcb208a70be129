"""Kernel distances of features, against independent implementations and identities."""

import importlib
import inspect
import itertools

import numpy as np
import pytest
from oracles import oracle

from kddim.metrics import kernel_distance, polynomial_mmd

module = importlib.import_module("kddim.metrics.kernel_distance")


def features(number, width=6, shift=0.0, seed=0):
    return np.random.default_rng(seed).standard_normal((number, width)) + shift


def naive_mmd(real, generated, degree=3, gamma=None, coef=1.0):
    """The definition, one pair at a time."""
    gamma = 1.0 / real.shape[1] if gamma is None else gamma

    def mean(pairs):
        values = [(gamma * sum(p * q for p, q in zip(a, b)) + coef) ** degree for a, b in pairs]
        return sum(values) / len(values)

    within_real = mean(itertools.permutations(real.tolist(), 2))
    within_generated = mean(itertools.permutations(generated.tolist(), 2))
    between = mean(itertools.product(real.tolist(), generated.tolist()))
    return within_real + within_generated - 2.0 * between


# polynomial_mmd


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 9), (9, 2), (7, 11), (30, 30)])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_mmd_is_its_definition(n, m, shift):
    real, generated = features(n), features(m, shift=shift, seed=1)
    assert polynomial_mmd(real, generated) == pytest.approx(naive_mmd(real, generated), rel=1e-10)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize(("gamma", "coef"), [(None, 0.0), (0.3, 1.0), (2.0, 0.5), (None, 3.0)])
def test_every_kernel_is_its_definition(degree, gamma, coef):
    real, generated = features(8), features(9, shift=0.4, seed=1)
    options = {"degree": degree, "gamma": gamma, "coef": coef}
    wanted = naive_mmd(real, generated, **options)
    assert polynomial_mmd(real, generated, **options) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_mmd_agrees_with_scikit_learns_kernel():
    kernel = pytest.importorskip("sklearn.metrics.pairwise").polynomial_kernel
    real, generated = features(120, 40), features(90, 40, 0.2, seed=1)
    within = [
        (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
        for k in (kernel(real, real), kernel(generated, generated))
    ]
    wanted = sum(within) - 2.0 * kernel(real, generated).mean()
    assert polynomial_mmd(real, generated) == pytest.approx(wanted, rel=1e-10)


def test_a_value_worked_out_by_hand():
    # k(x, y) = xy + 1: within real 0*2+1, within generated 1*3+1, between (1+1+3+7)/4.
    real, generated = [[0.0], [2.0]], [[1.0], [3.0]]
    assert polynomial_mmd(real, generated, degree=1) == pytest.approx(1 + 4 - 2 * 3)


def test_mmd_is_unbiased():
    """Over all subsets of a finite population, its mean is the population's own value."""
    real, generated = features(6, 3), features(5, 3, 0.5, seed=1)
    values = [
        polynomial_mmd(real[list(rows)], generated[list(columns)])
        for rows in itertools.combinations(range(6), 3)
        for columns in itertools.combinations(range(5), 2)
    ]
    assert np.mean(values) == pytest.approx(polynomial_mmd(real, generated), rel=1e-9)
    assert np.std(values) > 0


def test_mmd_can_be_negative():
    real = features(10)
    assert polynomial_mmd(real, real) < 0
    draws = [polynomial_mmd(features(20, seed=s), features(20, seed=s + 50)) for s in range(40)]
    assert min(draws) < 0 < max(draws)
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(len(draws))


def test_mmd_grows_with_the_distance_of_the_distributions():
    real = features(200)
    distances = [polynomial_mmd(real, features(200, shift=s, seed=1)) for s in (0, 0.3, 0.6, 1.2)]
    assert distances == sorted(distances)
    assert distances[-1] > 10 * abs(distances[0])


def test_mmd_sees_the_third_moment():
    random = np.random.default_rng(0)
    symmetric = random.standard_normal((4000, 1))
    skewed = random.exponential(size=(4000, 1)) - 1.0  # the same mean and variance
    assert polynomial_mmd(symmetric, skewed) > 1.0
    assert abs(polynomial_mmd(symmetric, skewed, degree=2)) < 0.2


def test_mmd_ignores_the_order_of_features_and_of_the_sets():
    real, generated = features(13), features(17, shift=0.3, seed=1)
    value = polynomial_mmd(real, generated)
    assert polynomial_mmd(generated, real) == pytest.approx(value, rel=1e-12)
    assert polynomial_mmd(real[::-1], np.roll(generated, 5, 0)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("block", [1, 2, 6, 7, 8, 12, 13, 14, 1000])
def test_blocks_do_not_change_the_value(monkeypatch, block):
    real, generated = features(7), features(13, shift=0.3, seed=1)
    wanted = naive_mmd(real, generated)
    monkeypatch.setattr(module, "_BLOCK", block)
    assert polynomial_mmd(real, generated) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_the_real_block_has_no_seam(extra):
    number = module._BLOCK + extra
    real, generated = features(number, 1)[:, 0], features(40, 1, 0.5, seed=1)[:, 0]
    cube = (np.multiply.outer(real, real) + 1) ** 3
    within = (cube.sum() - np.trace(cube)) / (number * (number - 1))
    cube = (np.multiply.outer(generated, generated) + 1) ** 3
    within += (cube.sum() - np.trace(cube)) / (40 * 39)
    wanted = within - 2 * ((np.multiply.outer(real, generated) + 1) ** 3).mean()
    assert polynomial_mmd(real[:, None], generated[:, None]) == pytest.approx(wanted, rel=1e-9)


def test_mmd_counts_in_float64():
    real = (features(50) + 30.0).astype("float32")
    generated = (features(50, seed=1) + 30.0).astype("float32")
    wanted = naive_mmd(real.astype("float64"), generated.astype("float64"))
    value = polynomial_mmd(real, generated)
    assert type(value) is float
    assert value == pytest.approx(wanted, rel=1e-6)


# kernel_distance


def test_the_mean_over_subsets_is_the_distance_of_the_whole():
    real, generated = features(60), features(50, shift=0.4, seed=1)
    mean, deviation = kernel_distance(real, generated, subsets=400, subset_size=20)
    assert deviation > 0
    assert abs(mean - polynomial_mmd(real, generated)) < 4 * deviation / np.sqrt(400)


def test_subsets_as_large_as_the_sets_are_the_sets():
    real, generated = features(20), features(20, shift=0.4, seed=1)
    mean, deviation = kernel_distance(real, generated, subsets=5, subset_size=20)
    assert mean == pytest.approx(polynomial_mmd(real, generated), rel=1e-10)
    assert deviation == pytest.approx(0.0, abs=1e-10)


def test_subsets_are_drawn_without_replacement():
    real, generated = features(8), features(3, shift=1.0, seed=1)
    mean, deviation = kernel_distance(real, generated, subsets=200, subset_size=3)
    values = [
        polynomial_mmd(real[list(rows)], generated) for rows in itertools.combinations(range(8), 3)
    ]
    assert min(values) <= mean <= max(values)
    assert mean == pytest.approx(np.mean(values), abs=4 * np.std(values) / np.sqrt(200))
    assert deviation == pytest.approx(np.std(values), rel=0.25)


def test_the_seed_chooses_the_subsets():
    real, generated = features(30), features(30, seed=1)
    options = {"subsets": 3, "subset_size": 10}
    first = kernel_distance(real, generated, **options)
    assert first == kernel_distance(real, generated, seed=0, **options)
    assert first != kernel_distance(real, generated, seed=1, **options)


def test_one_subset_has_no_deviation():
    _, deviation = kernel_distance(features(9), features(9, seed=1), subsets=1, subset_size=4)
    assert deviation == 0.0


def test_the_kernel_is_passed_on():
    real, generated = features(10), features(10, shift=0.5, seed=1)
    options = {"degree": 2, "gamma": 0.7, "coef": 0.2}
    mean, _ = kernel_distance(real, generated, subsets=2, subset_size=10, **options)
    assert mean == pytest.approx(polynomial_mmd(real, generated, **options), rel=1e-10)


def test_the_defaults_are_those_of_the_literature():
    real, generated = features(1200, 2), features(1000, 2, 0.3, seed=1)
    mean, deviation = kernel_distance(real, generated, subsets=2)
    assert (mean, deviation) == kernel_distance(real, generated, subsets=2, subset_size=1000)
    assert mean == pytest.approx(polynomial_mmd(real, generated), rel=0.2)


# Refused


@pytest.mark.parametrize(
    ("real", "generated"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4))),
        (np.zeros((1, 3)), np.zeros((5, 3))),
        (np.zeros((5, 3)), np.zeros((1, 3))),
        (np.zeros((0, 3)), np.zeros((5, 3))),
        (np.zeros(5), np.zeros(5)),
        (np.zeros((5, 2, 3)), np.zeros((5, 2, 3))),
    ],
)
@pytest.mark.parametrize("distance", [polynomial_mmd, kernel_distance])
def test_sets_that_do_not_fit_are_refused(distance, real, generated):
    with pytest.raises(ValueError, match=r"Expected two sets of features \(n, d\).*Received: real"):
        distance(real, generated)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_features_that_are_not_finite_are_refused(value, side):
    sets = [features(4), features(4, seed=1)]
    sets[side][2, 1] = value
    with pytest.raises(ValueError, match=r"Expected finite features\. Received: NaN or infinity"):
        polynomial_mmd(*sets)


@pytest.mark.parametrize(("subsets", "size"), [(0, 4), (-1, 4), (3, 1), (3, 0), (3, 9), (3, 1000)])
def test_subsets_that_do_not_fit_are_refused(subsets, size):
    message = rf"smaller set \(8\)\. Received: subsets={subsets}, subset_size={size}"
    with pytest.raises(ValueError, match=message):
        kernel_distance(features(8), features(20, seed=1), subsets=subsets, subset_size=size)


# The field's own tools
# Their defaults: torchmetrics 1.9, torch-fidelity 0.4 and clean-fid 0.1.35 take 100 subsets
# of 1,000; clean-fid alone shrinks them to the smaller set, and gives no deviation.


@pytest.mark.parametrize("options", [{}, {"degree": 2, "gamma": 0.3, "coef": 0.5}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mmd_is_torchmetrics(dtype, options):
    torch, kid = pytest.importorskip("torch"), oracle("torchmetrics.image.kid")
    real, generated = (f.astype(dtype) for f in (features(80, 300), features(80, 300, 0.2, 1)))
    wanted = kid.poly_mmd(*(torch.from_numpy(f).double() for f in (real, generated)), **options)
    assert polynomial_mmd(real, generated, **options) == pytest.approx(float(wanted), rel=1e-6)


def test_the_kernel_distance_is_torchmetrics(monkeypatch):
    """With the same subsets: torchmetrics draws them with a generator of its own."""
    torch, kid = pytest.importorskip("torch"), oracle("torchmetrics.image.kid")
    real, generated = features(60, 40), features(70, 40, 0.2, seed=1)
    random = np.random.default_rng(5)
    monkeypatch.setattr(
        torch, "randperm", lambda n: torch.from_numpy(random.choice(n, 20, replace=False))
    )
    metric = kid.KernelInceptionDistance(torch.nn.Flatten(), subsets=7, subset_size=20)
    metric.real_features = [torch.from_numpy(real)]
    metric.fake_features = [torch.from_numpy(generated)]
    mean, deviation = (float(value) for value in metric.compute())
    found = kernel_distance(real, generated, subsets=7, subset_size=20, seed=5)
    assert found[0] == pytest.approx(mean, rel=1e-6)
    assert found[1] == pytest.approx(deviation, rel=1e-6)


def test_the_kernel_distance_is_torch_fidelitys(monkeypatch):
    torch, kid = pytest.importorskip("torch"), oracle("torch_fidelity.metric_kid")
    real, generated = features(60, 40), features(70, 40, 0.2, seed=1)
    random = np.random.default_rng(5)  # so that both draw the same subsets
    options = {"kid_subsets": 7, "kid_subset_size": 20, "rng_seed": 5, "verbose": False}
    sets = [torch.from_numpy(f) for f in (real, generated)]
    with monkeypatch.context() as patch:
        patch.setattr(kid.np.random, "RandomState", lambda seed: random)
        wanted = kid.kid_features_to_metric(*sets, **options)
    mean, deviation = kernel_distance(real, generated, subsets=7, subset_size=20, seed=5)
    assert mean == pytest.approx(wanted[kid.KEY_METRIC_KID_MEAN], rel=1e-6)
    assert deviation == pytest.approx(wanted[kid.KEY_METRIC_KID_STD], rel=1e-6)


def test_the_kernel_distance_is_clean_fids():
    fid = oracle("cleanfid.fid")
    real, generated = features(30, 40), features(30, 40, 0.2, seed=1)
    wanted = fid.kernel_distance(real, generated, num_subsets=1)  # of all features
    mean, _ = kernel_distance(real, generated, subsets=1, subset_size=30)
    assert mean == pytest.approx(wanted, rel=1e-6)


def test_the_defaults_are_the_tools_defaults():
    ours = inspect.signature(kernel_distance).parameters
    theirs = inspect.signature(oracle("torchmetrics.image.kid").KernelInceptionDistance).parameters
    for name in ("subsets", "subset_size", "degree", "gamma", "coef"):
        assert ours[name].default == theirs[name].default
    defaults = oracle("torch_fidelity.defaults").DEFAULTS
    assert (defaults["kid_subsets"], defaults["kid_subset_size"]) == (100, 1000)

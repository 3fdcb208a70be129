"""Fréchet distance and its statistics, against closed forms and the field's own tools."""

import importlib

import numpy as np
import pytest
from oracles import oracle

from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.frechet_distance import frechet_deviation, frechet_distance

statistics_module = importlib.import_module("kddim.metrics.feature_statistics")


def features(number, width=6, shift=0.0, scale=1.0, seed=0):
    """Correlated features, as networks give them."""
    random = np.random.default_rng(seed)
    mixing = np.eye(width) + 0.3 * np.random.default_rng(99).standard_normal((width, width))
    return scale * random.standard_normal((number, width)) @ mixing + shift


def with_moments(mean, covariance, count=100_000):
    return FeatureStatistics.from_moments(count, mean, covariance)


def moments(x):
    return x.mean(0), np.cov(x, rowvar=False)


def exact(real, generated):
    """The closed form for n < d in 40 decimal digits, on the features themselves.

    The eigenvalues of `C_1 C_2` that are not zero are those of `G G'`, with
    `G = X Y' / sqrt((n - 1)(m - 1))` of centred features X and Y: n x n.
    """
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        x, y = (mpmath.matrix(f.tolist()) for f in (real, generated))
        means = [mpmath.matrix([sum(f[:, j]) / f.rows for j in range(f.cols)]) for f in (x, y)]
        for f, mean in zip((x, y), means):
            for i in range(f.rows):
                for j in range(f.cols):
                    f[i, j] -= mean[j]
        traces = [sum(v * v for v in f) / (f.rows - 1) for f in (x, y)]
        cross = x * y.T
        values = mpmath.eigsy(cross * cross.T, eigvals_only=True)
        root = sum(mpmath.sqrt(abs(v)) for v in values)
        root /= mpmath.sqrt((x.rows - 1) * (y.rows - 1))
        shift = means[0] - means[1]
        return float(sum(v * v for v in shift) + sum(traces) - 2 * root)


# Closed forms


def test_shifted_gaussians_are_their_shift_apart():
    covariance = np.cov(features(50), rowvar=False)
    shift = np.arange(6.0)
    value = frechet_distance(with_moments(np.zeros(6), covariance), with_moments(shift, covariance))
    assert value == pytest.approx(shift @ shift, rel=1e-12)


def test_diagonal_covariances_differ_by_their_deviations():
    a, b = np.array([1.0, 4.0, 9.0, 0.0]), np.array([4.0, 1.0, 0.0, 0.0])
    value = frechet_distance(
        with_moments(np.zeros(4), np.diag(a)), with_moments(np.ones(4), np.diag(b))
    )
    assert value == pytest.approx(4 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rel=1e-12)


def test_commuting_covariances_differ_by_their_roots():
    vectors = np.linalg.qr(features(30, 30))[0]
    a, b = np.linspace(0.0, 5.0, 30), np.linspace(3.0, 0.1, 30)
    covariances = [(vectors * values) @ vectors.T for values in (a, b)]
    value = frechet_distance(*(with_moments(np.zeros(30), c) for c in covariances))
    assert value == pytest.approx(np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rel=1e-9)


def test_one_dimension_by_hand():
    # Means 1 and 4, unbiased variances 2 and 18.
    assert frechet_distance([[0.0], [2.0]], [[1.0], [7.0]]) == pytest.approx(
        9 + (np.sqrt(2) - np.sqrt(18)) ** 2
    )


@pytest.mark.parametrize(("number", "width"), [(100, 6), (8, 40), (41, 40), (40, 40)])
def test_a_set_is_at_no_distance_from_itself(number, width):
    real = features(number, width)
    assert frechet_distance(real, real) == pytest.approx(0.0, abs=1e-10)
    assert frechet_distance(real, real) >= 0.0
    assert frechet_distance(real, real + 2.0) == pytest.approx(4.0 * width, rel=1e-9)


def test_scaled_features_are_scaled_distances():
    real, generated = features(60), features(50, shift=0.4, seed=1)
    value = frechet_distance(real, generated)
    assert frechet_distance(7 * real, 7 * generated) == pytest.approx(49 * value, rel=1e-10)
    assert frechet_distance(generated, real) == pytest.approx(value, rel=1e-10)


def test_a_large_mean_costs_no_digits():
    real, generated = features(200), features(150, shift=0.4, seed=1)
    value = frechet_distance(real, generated)
    assert frechet_distance(real + 1e5, generated + 1e5) == pytest.approx(value, rel=1e-9)


# The field's own tools


@pytest.mark.parametrize(("n", "m", "width"), [(400, 300, 24), (150, 1000, 64), (70, 70, 64)])
def test_it_is_torchmetrics_distance(n, m, width):
    torch, fid = pytest.importorskip("torch"), oracle("torchmetrics.image.fid")
    real, generated = features(n, width), features(m, width, 0.2, 1.3, seed=1)
    arguments = [torch.from_numpy(a) for a in (*moments(real), *moments(generated))]
    wanted = float(fid._compute_fid(*arguments))
    assert frechet_distance(real, generated) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("n", "m", "width"), [(400, 300, 24), (150, 1000, 64), (70, 70, 64)])
def test_it_is_torch_fidelitys_distance(n, m, width):
    torch, fid = pytest.importorskip("torch"), oracle("torch_fidelity.metric_fid")
    real, generated = features(n, width), features(m, width, 0.2, 1.3, seed=1)
    parts = [fid.fid_features_to_statistics(torch.from_numpy(f)) for f in (real, generated)]
    wanted = fid.fid_statistics_to_metric(*parts, verbose=False)[fid.KEY_METRIC_FID]
    assert frechet_distance(real, generated) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("n", "m", "width"), [(400, 300, 24), (150, 1000, 64), (70, 70, 64)])
def test_it_is_clean_fids_distance(n, m, width, monkeypatch):
    wanted = clean_fid(features(n, width), features(m, width, 0.2, 1.3, seed=1), monkeypatch)
    value = frechet_distance(features(n, width), features(m, width, 0.2, 1.3, seed=1))
    assert value == pytest.approx(wanted, rel=1e-6)


def clean_fid(real, generated, monkeypatch):
    module = oracle("cleanfid.fid")
    root = module.linalg.sqrtm

    def with_error_estimate(matrix, disp=True):  # newer SciPy has no argument `disp`
        return (root(matrix), None) if not disp else root(matrix)

    monkeypatch.setattr(module.linalg, "sqrtm", with_error_estimate)
    return module.frechet_distance(*moments(real), *moments(generated))


@pytest.mark.parametrize(("n", "m", "width"), [(12, 9, 40), (20, 30, 25), (2, 2, 5)])
def test_fewer_features_than_dimensions_are_exact(n, m, width):
    """To 1e-12 of 40 digits, where the tools differ by up to 1e-6: see the next test."""
    real, generated = features(n, width), features(m, width, 0.2, 1.3, seed=1)
    wanted = exact(real, generated)
    assert frechet_distance(real, generated) == pytest.approx(wanted, rel=1e-12)
    streamed = frechet_distance(FeatureStatistics(real), FeatureStatistics(generated))
    assert streamed == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize(("n", "m", "width"), [(60, 50, 200), (100, 300, 200), (30, 30, 400)])
def test_the_tools_agree_on_few_features_within_their_rounding(n, m, width, monkeypatch):
    """Roots of the rounding errors of a singular product: 1e-7 here, more for closer sets."""
    torch, fid = pytest.importorskip("torch"), oracle("torchmetrics.image.fid")
    real, generated = features(n, width), features(m, width, 0.2, 1.3, seed=1)
    value = frechet_distance(real, generated)
    arguments = [torch.from_numpy(a) for a in (*moments(real), *moments(generated))]
    assert value == pytest.approx(float(fid._compute_fid(*arguments)), rel=1e-6)
    assert value == pytest.approx(clean_fid(real, generated, monkeypatch), rel=1e-6)


# Streams


@pytest.mark.parametrize(("n", "width"), [(300, 6), (5, 6), (6, 6), (7, 6), (50, 60)])
def test_statistics_of_features_give_the_same_distance(n, width):
    real, generated = features(n, width), features(90, width, 0.3, seed=1)
    wanted = frechet_distance(real, generated)
    for pair in [
        (FeatureStatistics(real), generated),
        (real, FeatureStatistics(generated)),
        (FeatureStatistics(real), FeatureStatistics(generated)),
    ]:
        assert frechet_distance(*pair) == pytest.approx(wanted, rel=1e-9)


def test_features_that_never_change_are_no_obstacle():
    real, generated = features(300, 20), features(200, 20, 0.3, seed=1)
    real[:, 3:9], generated[:, 5:12] = 0.0, 0.7
    kept = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    vectors = [np.linalg.eigh(c) for c in kept]
    a, b = (v[:, w > 1e-9] * np.sqrt(w[w > 1e-9]) for w, v in vectors)
    root = np.linalg.svd(a.T @ b, compute_uv=False).sum()
    shift = real.mean(0) - generated.mean(0)
    wanted = shift @ shift + np.trace(kept[0]) + np.trace(kept[1]) - 2 * root
    assert frechet_distance(real, generated) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("sizes", [[1] * 20, [20], [3, 17], [0, 7, 0, 13], [19, 1]])
@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_blocks_give_the_moments_of_the_whole(sizes, mean):
    x = features(20, 5, mean)
    statistics = FeatureStatistics()
    for start, size in zip(np.cumsum([0, *sizes]), sizes):
        statistics.update(x[start : start + size])
    assert statistics.count == 20
    assert np.allclose(statistics.mean, x.mean(0), rtol=1e-14)
    wanted = np.cov(x - mean, rowvar=False)  # shifted first: the most exact
    assert np.allclose(statistics.covariance, wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("block", [1, 7, 20, 100])
def test_the_size_of_blocks_changes_nothing(monkeypatch, block):
    x = features(20, 5, 3.0)
    monkeypatch.setattr(statistics_module, "_BLOCK", block)
    assert np.allclose(FeatureStatistics(x).covariance, np.cov(x, rowvar=False), rtol=1e-10)


def test_float32_features_are_counted_in_float64():
    x = (features(3000, 3) + 1000.0).astype("float32")
    wanted = np.cov(x.astype("float64"), rowvar=False)
    assert np.allclose(FeatureStatistics(x).covariance, wanted, rtol=1e-9)


def test_merged_statistics_are_those_of_all():
    x = features(30, 5, 2.0)
    a, b = FeatureStatistics(x[:11]), FeatureStatistics(x[11:])
    merged = a.merge(b)
    assert (merged.count, a.count, b.count) == (30, 11, 19)
    assert np.allclose(merged.covariance, np.cov(x, rowvar=False), rtol=1e-10)
    assert np.allclose(a.covariance, np.cov(x[:11], rowvar=False), rtol=1e-10)
    assert merged.merge(FeatureStatistics()).count == 30


def test_moments_from_elsewhere_are_statistics():
    x = features(30, 5)
    known = FeatureStatistics.from_moments(30, *moments(x))
    assert np.allclose(known.covariance, FeatureStatistics(x).covariance, rtol=1e-12)
    known.update(x[:3])
    assert known.count == 33


# The standard error


@pytest.mark.parametrize("width", [3, 150])
def test_the_deviation_is_that_of_repeated_draws(width):
    real = features(500, width)
    sets = [features(100, width, 0.3, seed=s) for s in range(1, 31)]
    spread = np.std([frechet_distance(real, generated) for generated in sets], ddof=1)
    estimates = [frechet_deviation(real, generated) for generated in sets[:10]]
    assert np.mean(estimates) == pytest.approx(spread, rel=0.6)


@pytest.mark.parametrize("width", [4, 80])
def test_the_deviation_is_its_definition(width):
    real, generated = features(90, width), features(50, width, 0.3, seed=1)
    order = np.random.default_rng(0).permutation(50)
    values = [frechet_distance(real, np.delete(generated, order[g::5], axis=0)) for g in range(5)]
    wanted = np.sqrt(4 / 5 * np.sum((values - np.mean(values)) ** 2))
    for known in (real, FeatureStatistics(real)):
        assert frechet_deviation(known, generated, 5) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("width", [4, 80])
def test_groups_may_differ_in_size(width):
    real, generated = features(90, width), features(11, width, 0.3, seed=1)
    order = np.random.default_rng(0).permutation(11)
    for asked, groups in ((3, 3), (40, 11)):  # at most one group per feature
        rests = [np.delete(generated, order[g::groups], axis=0) for g in range(groups)]
        values = [frechet_distance(real, rest) for rest in rests]
        wanted = np.sqrt((groups - 1) * np.var(values))
        assert frechet_deviation(real, generated, asked) == pytest.approx(wanted, rel=1e-6)


# Refused


@pytest.mark.parametrize("function", [frechet_distance, frechet_deviation])
def test_sets_that_do_not_fit_are_refused(function):
    with pytest.raises(ValueError, match=r"of one width\. Received: real 6, generated 5"):
        function(features(50), features(50, 5))
    with pytest.raises(ValueError, match=r"Expected real features \(n, d\).*shape \(1, 6\)"):
        function(features(1), features(50))
    with pytest.raises(ValueError, match=r"Expected real features \(n, d\).*shape \(6,\)"):
        function(features(1)[0], features(50))
    with pytest.raises(ValueError, match=r"at least 2 features for a cov.*Received: 0"):
        function(FeatureStatistics(), features(50))


@pytest.mark.parametrize("number", [4, 40])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(number, value):
    real = features(number)
    real[1, 2] = value
    with pytest.raises(ValueError, match="Expected finite features"):
        frechet_distance(real, features(50))
    with pytest.raises(ValueError, match="Expected finite features"):
        frechet_distance(features(50), real)


def test_statistics_of_all_have_no_deviation():
    with pytest.raises(ValueError, match=r"statistics cannot be taken apart.*shape \(\)"):
        frechet_deviation(features(50), FeatureStatistics(features(50)))


def test_blocks_that_do_not_fit_are_refused():
    statistics = FeatureStatistics(features(4))
    with pytest.raises(ValueError, match=r"shape \(n, 6\)\. Received: shape \(4, 5\)"):
        statistics.update(features(4, 5))
    with pytest.raises(ValueError, match=r"shape \(n, 6\)\. Received: shape \(6,\)"):
        statistics.update(features(1)[0])
    with pytest.raises(ValueError, match=r"statistics of 6 features\. Received: 5"):
        statistics.merge(FeatureStatistics(features(4, 5)))


@pytest.mark.parametrize(
    ("count", "mean", "covariance"),
    [(1, [0.0], [[1.0]]), (5, [0.0, 0.0], [[1.0]]), (5, [[0.0]], [[1.0]]), (5, [0.0], [1.0])],
)
def test_moments_that_do_not_fit_are_refused(count, mean, covariance):
    with pytest.raises(ValueError, match="Expected a count of at least 2, a mean"):
        FeatureStatistics.from_moments(count, mean, covariance)


def test_a_matrix_that_is_no_covariance_is_refused():
    with pytest.raises(ValueError, match="symmetric covariance"):
        FeatureStatistics.from_moments(5, [0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]])


@pytest.mark.parametrize("groups", [0, 1, 50])
def test_groups_that_do_not_fit_are_refused(groups):
    with pytest.raises(ValueError, match=rf"Received: {groups} groups of 2 features"):
        frechet_deviation(features(50), features(2), groups)

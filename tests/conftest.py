"""What all tests share: a quiet start, no windows, and small models."""

import contextlib
import gc
import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ:
    # One process a core already; PyTorch's threads would wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Most of the tests' time with JAX is compilation, of small models that run once: half of it
# goes with the optimisations.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import keras
import numpy as np
import pytest

import kddim

if keras.backend.backend() == "jax":
    import jax
    import platformdirs

    # Compiled functions are kept for the next run of the tests. Processes that the tests start, and
    # some of which they kill, neither read nor write them.
    compiled = platformdirs.user_cache_path("kddim-tests") / "jax"
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_compilation_cache_max_size", 2**30)


def pytest_configure(config):
    """Give signals their usual meaning: a shell's background, and nohup, ignore them."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):  # fmt: skip
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


# Modules that take longest. They come first, so that no process waits for another one at the end.
LONGEST = (
    *(
        "resume",
        "examples",
        "checkpoint",
        "saving",
        "registration",
        "training",
        "rematerialization",
    ),
    *("callbacks", "networks", "starting", "metrics_direction", "presets", "docs", "distillation"),
    *("notebook", "health", "keras_io_parity"),
)


def pytest_collection_modifyitems(items):
    """Move the longest modules to the front; pytest-xdist keeps this order."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or writes the user's cache."""
    os.environ["KDDIM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def forgotten_models():
    """No module keeps the models of those before: they slow down the later ones many times."""
    yield
    keras.utils.clear_session()  # collects garbage
    # What survives will stay: later collections, which took up to 10 s each, need not look at it.
    gc.freeze()


@pytest.fixture(autouse=True)
def reproducible():
    """Every test starts from the same global seed, in float32."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def images():
    """64 smooth colour images, 16x16, in [0, 1]."""
    random = np.random.default_rng(0)
    coarse = random.random((64, 4, 4, 3)).astype("float32")
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture
def model(images):
    """A small adapted, compiled model whose networks predict something.

    The last convolution starts at zero; random weights in its place make every sampler
    and every weight matter.
    """
    return make_model(images)


def make_model(images, **options):
    """A small model for `images`, adapted and compiled, with random output weights."""
    options = {"widths": (8, 16, 24), "block_depth": 1, "channels": images.shape[-1]} | options
    model = kddim.DiffusionModel(images.shape[1:3], **options)
    random = np.random.default_rng(1)
    weights = [0.3 * random.standard_normal(w.shape) for w in model.network.get_weights()[-2:]]
    for network in (model.network, model.ema_network):
        network.set_weights(network.get_weights()[:-2] + weights)
    model.normalizer.adapt(images)
    model.compile()
    return model


@contextlib.contextmanager
def stopped_after(experiment, cells):
    """Expect that Ctrl+C stops an experiment after some of its cells."""
    compute, done = experiment.compute, []

    def stop(self, key, *args):
        if len(done) == cells:
            raise KeyboardInterrupt
        done.append(key)
        return compute(self, key, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "compute", stop)
        with pytest.raises(KeyboardInterrupt):
            yield

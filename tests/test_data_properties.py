"""Properties of `kddim.data.load` and its batches, over sizes, channels, types and options."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kddim.data import ImageDataset, load

SIDES = st.integers(1, 24)
SEEDS = st.integers(-(2**70), 2**70)
few = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def arrays(draw):
    """Images whose values tell them apart: uint8 or floats, with the channels last."""
    number, channels = draw(st.integers(2, 40)), draw(st.sampled_from([1, 3, 4]))
    shape = (number, draw(SIDES), draw(SIDES), channels)
    dtype = draw(st.sampled_from(["uint8", "float16", "float32", "float64", ">f4"]))
    values = np.arange(number)[:, None, None, None] / number
    values = values * 200 if dtype == "uint8" else values
    return np.broadcast_to(values, shape).astype(dtype)


def rows_of(images, number):
    """Return the indices of images of `arrays`."""
    scale = 200 if images.dtype == np.uint8 else 1
    return np.round(images[:, 0, 0, 0].astype("float64") / scale * number).astype(int)


@few
@given(
    images=arrays(),
    size=st.tuples(SIDES, SIDES),
    batch_size=st.integers(1, 50),
    options=st.fixed_dictionaries(
        {},
        optional={
            "validation_split": st.floats(0.01, 0.99),
            "repeats": st.integers(1, 4),
            "flip": st.booleans(),
            "limit": st.integers(2, 60),
            "seed": SEEDS,
            "steps_per_epoch": st.integers(1, 5),
        },
    ),
)
def test_load_gives_batches_as_promised_or_says_why_not(
    tmp_path, images, size, batch_size, options
):
    np.save(tmp_path / "a.npy", images)
    used = min(len(images), options.get("limit", len(images)))
    held_out = min(max(1, round(used * options.get("validation_split", 0.2))), used - 1)
    if used - held_out < batch_size:
        with pytest.raises(ValueError, match="Expected at least one batch"):
            load(tmp_path / "a.npy", size, batch_size, **options)
        return
    train, validation = load(tmp_path / "a.npy", size, batch_size, **options)
    assert len(train.images) + len(validation.images) == used
    assert min(len(train.images), len(validation.images)) >= 1
    shape = (*size, images.shape[-1])
    batches = list(train)
    assert len(batches) == len(train)
    assert [batch.shape for batch in batches] == [(batch_size, *shape)] * len(train)
    assert sum(len(batch) for batch in validation) == len(validation.images)
    for batch in [*batches, *validation]:
        assert batch.dtype == np.float32
        assert batch.shape[1:] == shape
        assert batch.min() >= 0.0
        assert batch.max() <= 1.0
    rows = [*rows_of(train.images, len(images)), *rows_of(validation.images, len(images))]
    assert len(set(rows)) == used  # no image is in both parts


@few
@given(
    images=arrays(), seed=SEEDS, batch_size=st.integers(1, 50), steps=st.none() | st.integers(1, 9)
)
def test_an_epoch_is_determined_by_its_seed_and_number(images, seed, batch_size, steps):
    options = {"training": True, "repeats": 3, "flip": True, "seed": seed, "steps_per_epoch": steps}
    if steps is None and 3 * len(images) < batch_size:
        with pytest.raises(ValueError, match="Expected at least one batch"):
            ImageDataset(images, batch_size, **options)
        return
    first, second = (ImageDataset(images, batch_size, **options) for _ in range(2))
    for _ in range(3):
        for one, other in zip(first, second):
            assert np.array_equal(one, other)
        first.on_epoch_end()
        second.on_epoch_end()


@few
@given(
    number=st.integers(1, 40),
    batch_size=st.integers(1, 40),
    repeats=st.integers(1, 3),
    steps=st.integers(1, 9),
)
def test_images_are_seen_equally_often(number, batch_size, repeats, steps):
    images = np.arange(number, dtype="uint8")[:, None, None, None]
    dataset = ImageDataset(
        images, batch_size, training=True, repeats=repeats, steps_per_epoch=steps
    )
    rows = np.round(np.concatenate(list(dataset)).ravel() * 255).astype(int)
    counts = np.bincount(rows, minlength=number)
    assert counts.sum() == steps * batch_size
    assert counts.max() - counts.min() <= 1


@few
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=2, max_size=5),
    modes=st.lists(
        st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"]), min_size=5
    ),
    size=st.tuples(SIDES, SIDES),
    channels=st.sampled_from([None, 1, 3]),
)
def test_pictures_of_any_size_and_mode_become_one_array(
    tmp_path_factory, sizes, modes, size, channels
):
    folder = tmp_path_factory.mktemp("pictures")
    for index, (side, mode) in enumerate(zip(sizes, modes)):
        Image.new(mode, side, 1).save(folder / f"{index}.tiff")
    train, validation = load(folder, size, 1, channels=channels)
    images = np.concatenate([train.images, validation.images])
    grey = all(mode in ("1", "L", "LA", "I;16", "F") for mode in modes[: len(sizes)])
    assert images.shape == (len(sizes), *size, channels or (1 if grey else 3))
    assert images.dtype == np.uint8
    assert not train.skipped


@few
@given(
    image_size=st.one_of(st.integers(-3, 0), st.floats(), st.text(max_size=3), st.tuples(SIDES)),
)
def test_odd_sizes_are_refused(image_size):
    with pytest.raises(ValueError, match="image_size"):
        load("digits", image_size)


@few
@given(
    name=st.sampled_from(["batch_size", "repeats", "limit", "steps_per_epoch", "channels"]),
    value=st.one_of(st.integers(-(10**20), 0), st.floats(), st.text(max_size=3), st.booleans()),
)
def test_odd_counts_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        load("digits", 8, **{name: value})

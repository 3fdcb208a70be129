"""Tests of arrays of images: checks, batches of data sets, bytes, grids and PNG files."""

import keras
import numpy as np
import pytest
from PIL import Image

from kddim.batches import first_batch, images_of, iterate_batches, take_images, take_labels
from kddim.data import ImageDataset
from kddim.data.labels import Labels
from kddim.images import check_images, grid, save_png, to_uint8

IMAGES = np.random.default_rng(0).random((10, 4, 6, 3), "float32")
LABELS = np.arange(10)
ANY = (None, None, None)


# Checks


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_in_range_pass_unchanged(dtype):
    images = IMAGES.astype(dtype)
    assert np.array_equal(check_images(images), images)
    assert check_images(images, (4, 6, 3)).dtype == dtype
    assert check_images(images, (None, 6, None)).shape == (10, 4, 6, 3)


def test_tensors_and_lists_pass():
    tensor = keras.ops.convert_to_tensor(IMAGES)
    assert np.array_equal(check_images(tensor), IMAGES)
    assert isinstance(check_images(tensor), np.ndarray)
    assert np.allclose(check_images(IMAGES.tolist()), IMAGES)


def test_the_ends_of_the_range_and_a_hair_beyond_pass():
    for value in (0.0, 1.0, 1.00005, -0.00005):
        assert check_images(np.full((1, 2, 2, 1), value)).size == 4


@pytest.mark.parametrize("shape", [(), (4,), (4, 6), (4, 6, 3), (1, 10, 4, 6, 3)])
def test_other_numbers_of_axes_are_refused(shape):
    message = r"Expected images of shape \(batch, height, width, channels\)\. Received: shape"
    with pytest.raises(ValueError, match=message):
        check_images(np.zeros(shape, "float32"))


@pytest.mark.parametrize("shape", [(8, 6, 3), (4, 8, 3), (4, 6, 1)])
def test_another_shape_is_refused_by_name(shape):
    height, width, channels = shape
    message = rf"shape \(batch, {height}, {width}, {channels}\)\. Received: shape \(10, 4, 6, 3\)"
    with pytest.raises(ValueError, match=message):
        check_images(IMAGES, shape)


def test_no_image_is_refused():
    with pytest.raises(ValueError, match=r"Received: shape \(0, 4, 6, 3\)"):
        check_images(IMAGES[:0])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
def test_integers_are_refused_with_the_way_out(dtype):
    message = rf"Expected float images in \[0, 1\]\. Received: {dtype}\. Divide uint8 images by 255"
    with pytest.raises(ValueError, match=message):
        check_images((IMAGES > 0.5).astype(dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    images = IMAGES.copy()
    images[7, 1, 2, 0] = value
    with pytest.raises(ValueError, match=r"Expected finite pixel values\. Received: NaN or inf"):
        check_images(images)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: 255.0 * x, r"255, as of 8-bit images\. Divide them by 255\."),
        (lambda x: 65535.0 * x, r"as of 16-bit images\. Divide them by 65535\."),
        (lambda x: 2.0 * x - 1.0, r"from -1 to 1, .*\[-1, 1\]\. Use \(images \+ 1\) / 2\."),
        (lambda x: (x - x.mean()) / x.std(), r"as of standardised images\. Undo it"),
        (lambda x: 1.001 * x, r"to 1\.001, a little outside\. Clip them"),
        (lambda x: 1e6 * x, r"Rescale them"),
        (lambda x: -255.0 * x, r"Rescale them"),
    ],
)
def test_values_outside_the_range_are_recognised(change, match):
    images = IMAGES.copy()
    images[7, 1, 2, 0], images[3, 0, 0, 0] = 0.0, 1.0
    check_images(images)
    with pytest.raises(ValueError, match=r"Expected pixel values in \[0, 1\]\. .*" + match):
        check_images(change(images))


def test_axes_in_another_order_are_recognised():
    images = np.zeros((5, 3, 16, 8), "float32")
    for shape in ((16, 8, 3), (None, None, 3)):
        with pytest.raises(ValueError, match=r"channels first\. Use np\.moveaxis"):
            check_images(images, shape)
        check_images(np.moveaxis(images, 1, -1), shape)
    with pytest.raises(ValueError, match=r"Use images\[\.\.\., None\]"):
        check_images(images[:, 0], (16, 8, 1))


# Batches of data sets


def test_labels_are_dropped():
    for batch in (IMAGES, (IMAGES, LABELS), [IMAGES, LABELS], (IMAGES,), (IMAGES, LABELS, LABELS)):
        assert images_of(batch) is IMAGES


def test_dictionaries_are_refused_by_their_keys():
    with pytest.raises(ValueError, match=r"dictionary with keys \['image', 'label'\]"):
        images_of({"label": LABELS, "image": IMAGES})


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_arrays_are_cut_into_batches(batch_size):
    batches = list(iterate_batches(IMAGES, batch_size))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert np.array_equal(np.concatenate(batches), IMAGES)


class Endless(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return IMAGES


class WithLabels(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        rows = slice(2 * index, 2 * index + 2)
        return IMAGES[rows], LABELS[rows]


def tensorflow_data(labels=False, repeat=False):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS) if labels else IMAGES).batch(4)
    return data.repeat() if repeat else data


def torch_loader(labels=False):
    torch = pytest.importorskip("torch")
    columns = (IMAGES, LABELS) if labels else (IMAGES,)
    dataset = torch.utils.data.TensorDataset(*map(torch.tensor, columns))
    return torch.utils.data.DataLoader(dataset, batch_size=4)


SOURCES = {
    "array": lambda: IMAGES,
    "tensor": lambda: keras.ops.convert_to_tensor(IMAGES),
    "PyDataset": lambda: ImageDataset(IMAGES, 4),
    "PyDataset with labels": WithLabels,
    "list": lambda: [IMAGES[:7], IMAGES[7:]],
    "list with labels": lambda: [(IMAGES[:7], LABELS[:7]), (IMAGES[7:], LABELS[7:])],
    "generator": lambda: (IMAGES[start : start + 3] for start in range(0, 10, 3)),
    "tf.data": tensorflow_data,
    "tf.data with labels": lambda: tensorflow_data(labels=True),
    "DataLoader": torch_loader,
    "DataLoader with labels": lambda: torch_loader(labels=True),
}


@pytest.mark.parametrize("source", SOURCES)
def test_images_are_taken_from_every_kind_of_data_set(source):
    taken = take_images(SOURCES[source](), None, (4, 6, 3))
    assert type(taken) is np.ndarray
    assert taken.dtype == np.float32
    assert np.array_equal(taken, IMAGES)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("number", "found"), [(1, 1), (5, 5), (10, 10), (99, 10)])
def test_no_more_images_are_taken_than_asked_for(source, number, found):
    assert np.array_equal(take_images(SOURCES[source](), number, ANY), IMAGES[:found])


def test_an_endless_generator_is_read_no_further_than_needed():
    read = []

    def batches():
        while True:
            read.append(1)
            yield IMAGES[:4]

    assert len(take_images(batches(), 9, ANY)) == 9
    assert len(read) == 3


def test_endless_data_sets_are_refused():
    with pytest.raises(ValueError, match=r"a data set that ends\. Received: an endless PyDataset"):
        take_images(Endless(), None, ANY)
    with pytest.raises(ValueError, match=r"a data set that ends\. Received: one repeated"):
        take_images(tensorflow_data(repeat=True), None, ANY)


def test_what_is_no_data_set_is_refused():
    with pytest.raises(ValueError, match=r"Expected an array of images or an iter.*Received: int"):
        take_images(5, None, ANY)


def test_empty_data_sets_are_refused():
    for empty in ([], IMAGES[:0], iter(())):
        with pytest.raises(ValueError, match=r"at least one batch of images\. Received: an empty"):
            take_images(empty, None, ANY)


def test_bad_images_inside_a_data_set_are_refused():
    with pytest.raises(ValueError, match=r"Expected pixel values in \[0, 1\]"):
        take_images([IMAGES, IMAGES * 255], None, ANY)
    with pytest.raises(ValueError, match=r"shape \(batch, 8, 8, 3\)\. Received"):
        take_images([IMAGES], None, (8, 8, 3))
    with pytest.raises(ValueError, match="dictionary"):
        take_images([{"image": IMAGES}], None, ANY)


@pytest.mark.parametrize("source", ["PyDataset", "PyDataset with labels", "tf.data with labels"])
def test_the_first_batch_is_looked_at(source):
    data = SOURCES[source]()
    batch = np.asarray(first_batch(data))
    assert np.array_equal(batch, IMAGES[: len(batch)])
    assert np.array_equal(take_images(data, None, ANY), IMAGES)


def test_looking_uses_no_generator_up():
    data = SOURCES["generator"]()
    assert first_batch(data) is None
    assert np.array_equal(take_images(data, None, ANY), IMAGES)
    assert first_batch(IMAGES) is IMAGES


@pytest.mark.parametrize(
    "data", [[IMAGES, IMAGES], (IMAGES, LABELS), [IMAGES], IMAGES.tolist(), []], ids=len
)
def test_several_arrays_are_no_data_set_of_batches(data):
    message = rf"one array.*Received: a {type(data).__name__} of {len(data)}\. .*np.concatenate"
    with pytest.raises(ValueError, match=message):
        first_batch(data)


def test_fitting_a_list_of_arrays_says_what_to_pass(model, images):
    for fit in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"one array.*a list of 2.*np.concatenate"):
            fit([images, images], verbose=0)


# Bytes


def test_bytes_come_back_from_floats():
    levels = np.arange(256)
    assert np.array_equal(to_uint8(levels / 255.0), levels)
    assert np.array_equal(to_uint8((levels / 255.0).astype("float32")), levels)
    assert to_uint8(levels / 255.0).dtype == np.uint8


def test_bytes_are_rounded_and_clipped():
    values = np.array([-5.0, -0.001, 0.49 / 255, 0.51 / 255, 254.51 / 255, 1.001, 7.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 255, 255, 255]
    assert to_uint8(keras.ops.convert_to_tensor([0.5])).tolist() == [128]


# Grids


def test_a_grid_lays_rows_out_on_white():
    colours = np.linspace(0.0, 0.8, 5)[:, None, None, None]
    images = np.broadcast_to(colours, (5, 3, 4, 1))
    canvas = grid(images, 3, padding=2, scale=1)
    assert canvas.shape == (2 * (3 + 2) + 2, 3 * (4 + 2) + 2, 1)
    wanted = np.full(canvas.shape, 255, "uint8")
    for index in range(5):
        top, left = 2 + 5 * (index // 3), 2 + 6 * (index % 3)
        wanted[top : top + 3, left : left + 4] = to_uint8(images[index])
    assert np.array_equal(canvas, wanted)


def test_a_grid_without_padding_is_the_images_side_by_side():
    canvas = grid(IMAGES[:4], 2, padding=0, scale=1)
    top, bottom = np.hstack(to_uint8(IMAGES[:2])), np.hstack(to_uint8(IMAGES[2:4]))
    assert np.array_equal(canvas, np.vstack([top, bottom]))


def test_scaled_pixels_become_squares():
    canvas = grid(IMAGES[:1], 1, padding=0, scale=3)
    assert np.array_equal(canvas, np.kron(to_uint8(IMAGES[0]), np.ones((3, 3, 1), "uint8")))


@pytest.mark.parametrize(("side", "shown"), [(8, 64), (28, 84), (64, 64), (100, 100)])
def test_small_images_grow_to_64_pixels(side, shown):
    canvas = grid(np.zeros((1, side, side, 3)), 1)
    assert (canvas == 0).all(-1).sum() == shown * shown


def test_fewer_images_than_columns_leave_white():
    canvas = grid(np.zeros((1, 4, 4, 3)), 5, padding=1, scale=1)
    assert canvas.shape == (6, 26, 3)
    assert (canvas[:, 6:] == 255).all()


# PNG files


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_png_files_hold_the_pixels(tmp_path, channels, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), "uint8")
    path = save_png(str(tmp_path / "a.png"), pixels)
    assert path == tmp_path / "a.png"
    with Image.open(path) as image:
        assert (image.mode, image.format) == (mode, "PNG")
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("channels", [2, 5])
def test_other_channels_become_panels(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), "uint8")
    with Image.open(save_png(tmp_path / "a.png", pixels)) as image:
        assert image.size == (7 * channels, 5)
        panels = np.split(np.asarray(image), channels, axis=1)
    assert np.array_equal(np.stack(panels, -1), pixels)


def test_missing_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = save_png(tmp_path / "new" / "deep" / "å.png", np.zeros((2, 2, 3), "uint8"))
    assert list(path.parent.iterdir()) == [path]


def test_the_format_is_png_whatever_the_name(tmp_path):
    with Image.open(save_png(tmp_path / "a.jpg", np.zeros((2, 2, 3), "uint8"))) as image:
        assert image.format == "PNG"


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = save_png(tmp_path / "a.png", np.full((4, 4, 3), 9, "uint8"))
    before = path.read_bytes()

    def fail(self, file, **_):
        open(file, "wb").close()
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_png(path, np.zeros((4, 4, 3), "uint8"))
    assert path.read_bytes() == before
    with pytest.raises(OSError, match="disk full"):
        save_png(tmp_path / "b.png", np.zeros((4, 4, 3), "uint8"))
    assert not (tmp_path / "b.png").exists()


def test_labels_are_taken_from_batches_that_have_them():
    labels = Labels(LABELS.astype("int32"), tuple("0123456789"))
    data = ImageDataset(IMAGES, 4, labels=labels)
    assert take_labels(data, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert take_labels(data, 20).tolist() == LABELS.tolist()
    assert take_labels(ImageDataset(IMAGES, 4), 6) is None
    assert take_labels(IMAGES, 6) is None

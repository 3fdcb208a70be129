"""Tests of the conversion of pictures of every mode, size and orientation."""

import io

import numpy as np
import pytest
from PIL import Image

from kddim.data.decode import (
    array_to_size,
    center_crop_box,
    crop_and_resize,
    picture_to_array,
    set_channels,
)

COLOUR = (200, 60, 20)
LUMA = 97  # 0.299 R + 0.587 G + 0.114 B


def noise(height, width, channels=3, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels), "uint8")
    return values[..., 0] if channels == 1 else values


def reopened(image, form, **options):
    """Return a picture after writing it to a file of a format and opening it."""
    file = io.BytesIO()
    image.save(file, form, **options)
    file.seek(0)
    return Image.open(file)


def column_ramp(height, width):
    """Return a grey picture with the index of the column in each pixel."""
    return Image.fromarray(np.tile(np.arange(width, dtype="uint8"), (height, 1)))


# Crop


@pytest.mark.parametrize(("width", "left"), [(20, 6), (21, 6), (9, 0), (8, 0)])
def test_wide_pictures_are_cropped_at_their_centre_in_whole_pixels(width, left):
    pixels = picture_to_array(column_ramp(8, width), (8, 8), 1)
    assert (pixels[..., 0] == np.arange(left, left + 8)).all()


@pytest.mark.parametrize(("height", "top"), [(20, 6), (21, 6), (9, 0)])
def test_tall_pictures_are_cropped_at_their_centre_in_whole_pixels(height, top):
    picture = column_ramp(8, height).transpose(Image.Transpose.TRANSPOSE)
    pixels = picture_to_array(picture, (8, 8), 1)
    assert (pixels[..., 0] == np.arange(top, top + 8)[:, None]).all()


def test_a_rectangular_size_crops_to_its_own_aspect():
    wide = picture_to_array(column_ramp(4, 20), (4, 8), 1)
    assert (wide[..., 0] == np.arange(6, 14)).all()
    rows = column_ramp(4, 20).transpose(Image.Transpose.TRANSPOSE)
    tall = picture_to_array(rows, (8, 4), 1)
    assert (tall[..., 0] == np.arange(6, 14)[:, None]).all()


def test_height_comes_before_width():
    assert picture_to_array(Image.new("RGB", (50, 50)), (6, 10), 3).shape == (6, 10, 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_box_is_centred_inside_and_as_large_as_can_be(seed):
    random = np.random.default_rng(seed)
    for _ in range(200):
        width, height, target_width, target_height = random.integers(1, 3000, 4).tolist()
        aspect = target_width / target_height
        left, top, right, bottom = center_crop_box(width, height, aspect)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        box_width, box_height = right - left, bottom - top
        assert abs(box_width - aspect * box_height) <= 1 + aspect  # At most one pixel off.
        assert box_width > width - 1 or box_height > height - 1
        assert left + right == pytest.approx(width, abs=1.0)
        assert top + bottom == pytest.approx(height, abs=1.0)


@pytest.mark.parametrize("size", [(8, 8), (4, 16), (16, 4), (7, 3)])
@pytest.mark.parametrize("picture_size", [(1, 1), (1, 50), (50, 1), (2, 3), (1, 4000)])
def test_pictures_one_pixel_wide_keep_their_colour(picture_size, size):
    pixels = picture_to_array(Image.new("RGB", picture_size, COLOUR), size, 3)
    assert pixels.shape == (*size, 3)
    assert (pixels == COLOUR).all()


# Resize


def test_a_picture_of_the_right_size_is_left_as_it_is():
    values = noise(8, 12)
    assert (picture_to_array(Image.fromarray(values), (8, 12), 3) == values).all()


def test_a_fine_checkerboard_becomes_grey():
    board = np.indices((64, 64)).sum(0) % 2 * 255
    pixels = picture_to_array(Image.fromarray(board.astype("uint8")), (8, 8), 1)
    assert np.abs(pixels.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("shape", [(100, 75), (64, 200), (33, 33), (31, 16)])
def test_crop_and_resize_are_those_of_the_keras_io_example(shape):
    tf = pytest.importorskip("tensorflow")
    values, side = noise(*shape), min(shape)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    crop = values[top : top + side, left : left + side].astype("float32")
    wanted = tf.image.resize(crop, (24, 24), antialias=True).numpy()
    pixels = picture_to_array(Image.fromarray(values), (24, 24), 3)
    assert np.abs(pixels - wanted).max() < 1.5


def test_crop_and_resize_takes_float_planes():
    plane = np.random.default_rng(0).random((40, 20), "float32")
    resized = np.asarray(crop_and_resize(Image.fromarray(plane), (5, 5)))
    assert resized.dtype == "float32"
    assert resized.mean() == pytest.approx(plane[10:30].mean(), abs=0.05)
    assert resized.std() < plane.std()


# Modes


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_colour_modes_become_rgb(mode):
    picture = Image.new("RGB", (9, 7), COLOUR).convert(mode)
    pixels = picture_to_array(picture, (8, 8), 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - COLOUR).max() <= 3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_colour_modes_become_their_luma(mode):
    picture = Image.new("RGB", (9, 7), COLOUR).convert(mode)
    pixels = picture_to_array(picture, (8, 8), 1)
    assert pixels.shape == (8, 8, 1)
    assert np.abs(pixels.astype(int) - LUMA).max() <= 3


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_palettes_become_their_colours(mode):
    picture = Image.new("RGB", (9, 7), COLOUR).quantize(4).convert(mode)
    assert picture.mode == mode
    assert np.abs(picture_to_array(picture, (8, 8), 3).astype(int) - COLOUR).max() <= 3
    assert np.abs(picture_to_array(picture, (8, 8), 1).astype(int) - LUMA).max() <= 3


@pytest.mark.parametrize("mode", ["L", "LA", "I", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_modes_keep_their_level(mode, channels):
    pixels = picture_to_array(Image.new("L", (9, 7), 77).convert(mode), (8, 8), channels)
    assert pixels.shape == (8, 8, channels)
    assert (pixels == 77).all()


def test_one_bit_pictures_become_black_and_white():
    values = noise(8, 8, 1) > 127
    picture = Image.fromarray(values)
    assert picture.mode == "1"
    assert (picture_to_array(picture, (8, 8), 1)[..., 0] == values * 255).all()


def test_cmyk_jpeg_files_are_not_inverted():
    picture = Image.new("RGB", (16, 16), COLOUR).convert("CMYK")
    pixels = picture_to_array(reopened(picture, "JPEG", quality=95), (8, 8), 3)
    assert np.abs(pixels.astype(int) - COLOUR).max() <= 4


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I"])
def test_sixteen_bits_keep_their_range(mode):
    dtype = {"I;16B": ">u2", "I": "int32"}.get(mode, "<u2")
    values = np.linspace(0, 65535, 64).round().reshape(8, 8).astype(dtype)
    picture = Image.frombytes(mode, (8, 8), values.tobytes())
    pixels = picture_to_array(picture, (8, 8), 1)[..., 0]
    assert np.abs(pixels - values / 257.0).max() <= 0.51
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_sixteen_bit_png_written_from_numpy():
    values = np.linspace(0, 65535, 8 * 8, dtype="uint16").reshape(8, 8)
    picture = reopened(Image.fromarray(values), "PNG")
    assert picture.mode.startswith("I")
    pixels = picture_to_array(picture, (8, 8), 3)
    assert np.abs(pixels - values[..., None] / 257.0).max() <= 0.51


def test_a_dark_sixteen_bit_picture_stays_dark():
    picture = Image.fromarray(np.full((8, 8), 200, "uint16"))
    assert picture_to_array(picture, (8, 8), 1).max() == 1


@pytest.mark.parametrize(
    ("top", "expected"), [(1.0, 255), (0.5, 128), (200.0, 200), (65535.0, 255)]
)
def test_float_pictures_keep_their_range(top, expected):
    picture = Image.fromarray(np.full((8, 8), top, "float32"))
    assert (picture_to_array(picture, (8, 8), 1) == expected).all()


def test_negative_pixels_become_black():
    picture = Image.fromarray(np.linspace(-1, 1, 64, dtype="float32").reshape(8, 8))
    pixels = picture_to_array(picture, (8, 8), 1)
    assert (pixels[:4] == 0).all()
    assert pixels[-1, -1, 0] == 255


# Transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_are_white(mode):
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    assert (picture_to_array(picture, (8, 8), 3) == 255).all()
    assert (picture_to_array(picture, (8, 8), 1) == 255).all()


def test_half_transparent_pixels_are_mixed_with_white():
    pixels = picture_to_array(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), (8, 8), 3)
    assert np.abs(pixels.astype(int) - (255, 127, 127)).max() <= 1


def test_a_transparent_palette_entry_is_white_and_the_others_keep_their_colour():
    indices = np.zeros((8, 8), "uint8")
    indices[:, 4:] = 1
    picture = Image.fromarray(indices, "L").convert("P")
    picture.putpalette([0, 0, 0, *COLOUR])
    opaque = picture_to_array(reopened(picture, "PNG"), (8, 8), 3)
    assert (opaque[:, :4] == 0).all()
    clear = picture_to_array(reopened(picture, "PNG", transparency=0), (8, 8), 3)
    assert (clear[:, :4] == 255).all()
    assert (clear[:, 4:] == COLOUR).all()


@pytest.mark.parametrize(("mode", "key"), [("L", 9), ("RGB", (9, 9, 9)), ("1", 0)])
def test_a_transparent_colour_key_is_white(mode, key):
    picture = reopened(Image.new(mode, (8, 8), key), "PNG", transparency=key)
    assert picture.has_transparency_data
    assert (picture_to_array(picture, (8, 8), 3) == 255).all()


# Orientation and animation

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_before_the_crop(orientation):
    stored = Image.fromarray(noise(8, 14))
    upright = stored.transpose(TURNS[orientation]) if orientation in TURNS else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (upright.height, upright.width)
    pixels = picture_to_array(reopened(stored, "PNG", exif=exif), size, 3)
    assert (pixels == np.asarray(upright)).all()
    cropped = picture_to_array(reopened(stored, "PNG", exif=exif), (8, 8), 3)
    assert (cropped == picture_to_array(upright, (8, 8), 3)).all()


def test_a_rotated_jpeg_stands_upright():
    values = np.zeros((32, 64, 3), "uint8")
    values[:, :32] = 255  # Left half white. It is the top half after a clockwise rotation.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = reopened(Image.fromarray(values), "JPEG", exif=exif, quality=95)
    pixels = picture_to_array(picture, (64, 32), 1)
    assert pixels[:28].min() > 240
    assert pixels[36:].max() < 15


def test_an_animated_gif_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (COLOUR, (0, 0, 0), (9, 9, 9))]
    picture = reopened(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert picture.n_frames == 3
    assert np.abs(picture_to_array(picture, (8, 8), 3).astype(int) - COLOUR).max() <= 3


# Arrays


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_arrays_are_resized_channel_by_channel(channels):
    values = noise(30, 20, 8)[..., :channels]
    resized = array_to_size(values, (6, 6))
    assert resized.shape == (6, 6, channels)
    assert resized.dtype == np.uint8
    for channel in range(channels):
        alone = picture_to_array(Image.fromarray(values[..., channel]), (6, 6), 1)
        assert (resized[..., channel] == alone[..., 0]).all()


def test_float_arrays_stay_float_and_in_range():
    values = (np.random.default_rng(0).random((37, 23, 2)) > 0.5).astype("float32")
    resized = array_to_size(values, (11, 11))
    assert resized.dtype == np.float32
    assert resized.min() >= 0.0
    assert resized.max() <= 1.0
    assert 0.3 < resized.mean() < 0.7
    assert array_to_size(values, (37, 23)) is values


def test_array_crops_are_centred():
    values = np.tile(np.arange(20, dtype="float32")[None, :, None] / 20, (4, 1, 1))
    assert np.allclose(array_to_size(values, (4, 4))[0, :, 0], np.arange(8, 12) / 20)


def test_one_channel_is_repeated():
    images = noise(2, 6, 4).reshape(2, 6, 4, 1)
    for channels in (2, 3, 4):
        assert (set_channels(images, channels) == images).all()
        assert set_channels(images, channels).shape == (2, 6, 4, channels)


def test_three_channels_become_their_luma():
    colours = np.eye(3)[None, None]
    assert np.allclose(set_channels(colours, 1)[0, 0, :, 0], [0.299, 0.587, 0.114])
    bytes_ = noise(6, 6)[None]
    grey = set_channels(bytes_, 1)
    assert grey.dtype == np.uint8
    pillow = np.asarray(Image.fromarray(bytes_[0]).convert("L"))
    assert np.abs(grey[0, ..., 0].astype(int) - pillow).max() <= 1
    assert np.array_equal(grey[..., 0], np.round(bytes_ @ [0.299, 0.587, 0.114]))
    assert (set_channels(np.full((1, 2, 2, 3), 255, "uint8"), 1) == 255).all()


def test_channels_that_fit_are_kept():
    images = noise(6, 6)[None]
    assert set_channels(images, None) is images
    assert set_channels(images, 3) is images


@pytest.mark.parametrize(("found", "channels"), [(2, 3), (4, 3), (4, 1), (3, 2)])
def test_channels_without_a_natural_way_are_refused(found, channels):
    message = f"Expected images of {channels} channels. Received: {found} channels"
    with pytest.raises(ValueError, match=message):
        set_channels(np.zeros((1, 4, 4, found), "uint8"), channels)

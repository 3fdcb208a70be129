"""Outputs: written part by part, put in place in one step, and safe from kills and full disks."""

import errno
import itertools
import os
import sys
import threading
import tracemalloc

import keras
import numpy as np
import pytest
from disk_faults import Faults, Killed
from keras import ops
from PIL import Image

import kddim
from kddim import files, streams
from kddim.experiments import Consistency, Generation, unfinished
from kddim.experiments import consistency as consistency_module
from kddim.experiments.image_files import Pixels, write_images
from kddim.experiments.image_grids import save_grid, shown_in_grid
from kddim.images import grid
from kddim.locks import output_lock

RANDOM = np.random.default_rng(0)


FAULTS = Faults()


@pytest.fixture(autouse=True)
def no_faults():
    yield
    FAULTS.stop()


@pytest.fixture(scope="module")
def model():
    noisy, variances = keras.Input((8, 8, 1)), keras.Input((1, 1, 1))
    network = keras.Model([noisy, variances], noisy * ops.sqrt(variances))
    return kddim.DiffusionModel(8, channels=1, network=network)


@pytest.fixture
def drawn(model, monkeypatch):
    """Experiments whose images are drawn without a network."""

    def draw(self, cell, callback):
        random = np.random.default_rng([self.seed, cell.options.get("start", 0)])
        return random.random((cell.num_images, 8, 8, 1)).astype("float32")

    monkeypatch.setattr(Generation, "generate", draw)
    monkeypatch.setattr(Consistency, "generate", draw)
    # Matplotlib takes half a second for a picture.
    monkeypatch.setattr(
        consistency_module,
        "plot_rows",
        lambda rows, path: kddim.images.save_png(
            path, grid(np.concatenate(list(rows.values())), 2)
        ),
    )
    return model


def contents(folder):
    """Bytes of all files below a folder, by their names."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: data for name, data in found.items() if not name.endswith(".lock")}


def read(path):
    return contents(path) if path.is_dir() else path.read_bytes() if path.exists() else None


def pixels(count, shape=(8, 8, 3), batch=7):
    images = RANDOM.integers(0, 256, (count, *shape), "uint8")
    starts = range(0, count, batch)
    return images, Pixels(count, shape, lambda: (images[i : i + batch] for i in starts))


# Files of many images


def test_an_array_in_parts_is_the_array_and_always_the_same_bytes(tmp_path):
    images, parts = pixels(20)
    for name in ("a.npz", "b.npz"):
        write_images(parts, tmp_path / name)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["images"], images)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_in_strips_is_the_picture(tmp_path, channels):
    picture = RANDOM.integers(0, 256, (23, 11, channels), "uint8")
    strips = [picture[:1], picture[1:20], picture[20:]]
    streams.save_png_rows(tmp_path / "a.png", 23, 11, channels, strips)
    found = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(found.reshape(picture.shape), picture)


@pytest.mark.parametrize("count", [1, 2, 5, 18, 33])
@pytest.mark.parametrize("shape", [(8, 8, 3), (70, 9, 1), (6, 5, 2), (4, 4, 4)])
def test_a_grid_in_strips_is_the_grid(tmp_path, count, shape):
    images, parts = pixels(count, shape)
    save_grid(parts.images(), count, shape, tmp_path / "a.png")
    columns = int(np.ceil(np.sqrt(2 * count)))
    expected = kddim.images.as_picture(grid(images / np.float32(255), columns))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), expected)


def test_parts_of_another_number_or_shape_are_refused(tmp_path):
    images, _ = pixels(4)
    with pytest.raises(ValueError, match="Expected 5 rows"):
        streams.save_npz(tmp_path / "a.npz", "images", (5, 8, 8, 3), [images])
    with pytest.raises(ValueError, match="Expected uint8 parts with rows of shape"):
        streams.save_npz(tmp_path / "a.npz", "images", (4, 8, 8, 1), [images])
    with pytest.raises(ValueError, match="Expected 9 rows"):
        streams.save_png_rows(tmp_path / "a.png", 9, 8, 3, [images[0]])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "most"), [("a.npz", 1.5), ("a.png", 5), ("a", 5)])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path, name, most):
    """Only a row of the grid grows, with the root of the number."""

    def peak(count):
        batch = np.zeros((10, 16, 16, 3), "uint8")
        parts = Pixels(count, (16, 16, 3), lambda: itertools.repeat(batch, count // 10))
        tracemalloc.start()
        write_images(parts, tmp_path / f"{count}{name}")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)  # loads what is imported late
    assert peak(2000) < most * peak(100)


def test_a_grid_of_very_many_images_shows_the_first(model, tmp_path, caplog):
    assert shown_in_grid(6000, (64, 64, 3)) == 6000
    shown = shown_in_grid(100_000, (64, 64, 3))
    assert shown * 66**2 < Image.MAX_IMAGE_PIXELS
    caplog.set_level("INFO", "kddim")
    Generation(model=model, num_images=100_000)._tell_of_grid(".png")
    shown = f"{shown_in_grid(100_000, (8, 8, 1)):,}"
    assert f"the grid shows the first {shown} of 100,000 images" in caplog.text


# Files and places


def test_a_durable_file_is_flushed_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []

    def note(handle):
        flushed.append((os.readlink(f"/proc/self/fd/{handle}"), (tmp_path / "a.txt").exists()))

    monkeypatch.setattr(os, "fsync", note)
    with files.atomic_write(tmp_path / "a.txt", durable=True) as partial:
        partial.write_text("content")
    if sys.platform.startswith("linux"):
        assert flushed == [(str(tmp_path / ".a.partial.txt"), False), (str(tmp_path), True)]
    with files.atomic_write(tmp_path / "b.txt") as partial:
        partial.write_text("content")
    assert len(flushed) == 2


def test_only_temporary_files_are_removed(tmp_path):
    kept = [".partial.txt", "a.partial.txt", ".hidden", ".a.partially", "notes.txt"]
    for name in (".a.partial.txt", ".b.partial", *kept):
        (tmp_path / name).touch()
    (tmp_path / ".folder.partial").mkdir()
    files.remove_partial_files(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*kept, ".folder.partial"])
    files.remove_partial_files(tmp_path / "missing")


def test_what_a_killed_process_left_does_not_make_a_folder_occupied(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in (".record.partial.json", ".out.lock"):
        (out / name).touch()
    assert files.check_output(out, overwrite=False) == out
    (out / "mine.txt").touch()
    with pytest.raises(ValueError, match="Expected an output that does not exist yet"):
        files.check_output(out, overwrite=False)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("file/out", "Expected a folder at .*file. Received: a file"),
        ("file/deep/er/out", "Expected a folder at .*file. Received: a file"),
        ("n" * 250, "names of at most 239 bytes"),
        ("ü" * 130 + "/out", "the longest of 260 bytes"),
        ("deep/" * 1500 + "out", "Expected an output path of at most 4031 bytes"),
    ],
)
def test_places_that_cannot_be_written_are_told(tmp_path, path, message):
    (tmp_path / "file").touch()
    for use in (lambda p: files.check_output(p, overwrite=True), lambda p: output_lock(p).__enter__()):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            use(tmp_path / path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_path_of_very_many_levels_is_written(tmp_path):
    path = tmp_path.joinpath(*("d" for _ in range(1500)), "a.txt")
    files.write_json(path, 1)
    assert files.read_json(path) == 1
    while path != tmp_path:  # pytest's own removal calls itself for each level
        path.unlink() if path.is_file() else path.rmdir()
        path = path.parent


def test_a_read_only_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="which is read-only"):
        files.check_output(tmp_path / "out", overwrite=False)


# A full disk


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError("3200 requested and 2016 written"),  # of NumPy
        OSError(f"write failed: errno = 28, error message = '{os.strerror(errno.ENOSPC)}'"),  # HDF5
    ],
)
def test_a_full_disk_is_told_with_the_file_and_the_room(tmp_path, error):
    words = r"Expected room on the disk for .*a\.txt\. Received: No space left on device \(.*B free"
    with pytest.raises(OSError, match=words), files.atomic_write(tmp_path / "a.txt"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_system_name_the_file_and_those_of_libraries_stay(tmp_path):
    with pytest.raises(PermissionError, match=r"Expected to write .*a\.txt\. Received: denied"):  # noqa: SIM117
        with files.atomic_write(tmp_path / "a.txt"):
            raise PermissionError(errno.EACCES, "denied")
    for error in (OSError("of a download"), FileNotFoundError(errno.ENOENT, "none", "/other/b")):
        with pytest.raises(OSError) as found, files.atomic_write(tmp_path / "a.txt"):
            raise error
        assert found.value is error


def generation(model, seed=1):
    return Generation(model=model, num_images=5, diffusion_steps=1, batch_size=2, seed=seed)


def consistency(model, seed=1):
    return Consistency(model=model, num_images=2, steps=(1, 2), seed=seed)


CASES = {
    "folder": (generation, "g"),
    "array": (generation, "g.npz"),
    "grid": (generation, "g.png"),
    "experiment": (consistency, "c"),
    "table": (consistency, "c.csv"),
}


def make_old(make, model, output):
    make(model, seed=0).run(output)
    if output.is_dir():
        (output / "notes.txt").write_text("mine")
        (output / "more").mkdir()
        (output / "more" / "deep.txt").write_text("mine too")


def expected_after(make, model, folder, output, overwrite):
    """The content of an output that no fault disturbed."""
    clean = folder / "clean" / output.name
    if overwrite:
        make_old(make, model, clean)
    make(model).run(clean, overwrite=overwrite)
    return read(clean)


def attempt(make, model, output, overwrite, kinds):
    """Run an experiment without faults afterwards, and return its error or None."""
    try:
        make(model).run(output, overwrite=overwrite)
    except kinds as error:
        return error
    finally:
        FAULTS.stop()
    return None


def run_with_faults(make, model, output, overwrite, error=None):
    """Fail at each operation in turn, then run the same command again.

    Yields the content before, the error, and the content after it, for each operation.
    """
    name, base = output.name, output.parent
    for count in itertools.count(1):
        output = base / str(count) / name
        if overwrite:
            make_old(make, model, output)
        before = read(output)
        FAULTS.after(count, base / str(count), error)
        found = attempt(make, model, output, overwrite, (Killed, OSError))
        if FAULTS.left > 0:
            break
        yield before, found, read(output)
        again = attempt(make, model, output, overwrite, ValueError)
        assert again is None or not overwrite
        assert "Expected an output that does not exist yet" in str(again or "Expected an output that does not exist yet")  # fmt: skip
        assert [p.name for p in output.parent.iterdir()] == [name]
        yield before, None, read(output)
    assert count > 5


# The other cases take the same paths, and are slow together.
FAST = [("folder", True), ("experiment", True), ("array", False)]
FAULTY = [
    pytest.param(*case, marks=() if case in FAST else pytest.mark.slow)
    for case in itertools.product(CASES, (True, False))
]


@pytest.mark.parametrize(("case", "overwrite"), FAULTY)
def test_a_full_disk_at_any_operation_leaves_nothing_half_written(drawn, tmp_path, case, overwrite):
    make, name = CASES[case]
    new = expected_after(make, drawn, tmp_path, tmp_path / name, overwrite)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for before, error, found in run_with_faults(make, drawn, tmp_path / name, overwrite, full):
        if error is not None:
            assert "Expected room on the disk for" in str(error)
            assert str(error).endswith("run the same command again: it continues.")
        if error is None:
            assert found == new
        elif overwrite or case != "experiment":  # which shows its first results
            assert found in (before, new)


@pytest.mark.parametrize("exchange", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("case", "overwrite"), FAULTY)
def test_a_kill_at_any_operation_leaves_the_old_or_the_new_output(
    drawn, tmp_path, case, overwrite, exchange, monkeypatch
):
    if not exchange:
        monkeypatch.setattr(unfinished, "_exchange", lambda one, other: False)
    make, name = CASES[case]
    new = expected_after(make, drawn, tmp_path, tmp_path / name, overwrite)
    for before, killed, found in run_with_faults(make, drawn, tmp_path / name, overwrite):
        if killed is None:
            assert found == new
        elif overwrite or case != "experiment":  # which shows its first results
            # Without an exchange, the old folder is away for a moment.
            assert found in (before, new, *([] if exchange else [None]))


def test_a_kill_while_files_move_into_the_working_folder_is_mended(drawn, tmp_path, monkeypatch):
    """The working folder of a shell is not replaced: its files move one by one."""
    new = expected_after(generation, drawn, tmp_path, tmp_path / "g", False)
    for count in itertools.count(1):
        output = tmp_path / str(count) / "g"
        output.mkdir(parents=True)
        monkeypatch.chdir(output)
        FAULTS.after(count, tmp_path / str(count))
        attempt(generation, drawn, ".", False, Killed)
        if FAULTS.left > 0:
            break
        attempt(generation, drawn, ".", False, ValueError)
        assert read(output) == new
        assert len(os.listdir(".")) == len(new)  # the folder itself is still the same
        monkeypatch.chdir(tmp_path)


# Replaced outputs


def test_a_replaced_folder_keeps_foreign_files_and_its_mode(drawn, tmp_path):
    output = tmp_path / "g"
    make_old(generation, drawn, output)
    (output / "00009.png").touch()  # of a larger set
    (output / "link").symlink_to("notes.txt")
    output.chmod(0o750)
    generation(drawn).run(output, overwrite=True)
    names = {"notes.txt", "more/deep.txt", "link", "grid.png"} | {f"0000{i}.png" for i in range(5)}
    assert set(contents(output)) == names
    assert (output / "link").is_symlink()
    assert output.stat().st_mode & 0o777 == 0o750


def test_a_link_stays_a_link_to_the_new_folder(drawn, tmp_path):
    make_old(generation, drawn, tmp_path / "g")
    (tmp_path / "link").symlink_to("g")
    generation(drawn).run(tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g", "link"]


def test_foreign_files_are_copied_where_links_are_unknown(drawn, tmp_path, monkeypatch):
    make_old(generation, drawn, tmp_path / "g")

    def refuse(*arguments, **options):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    generation(drawn).run(tmp_path / "g", overwrite=True)
    assert (tmp_path / "g" / "more" / "deep.txt").read_text() == "mine too"


def test_an_output_that_another_process_writes_is_refused(drawn, tmp_path):
    found = []

    def other():
        try:
            generation(drawn).run(tmp_path / "g")
        except ValueError as error:
            found.append(str(error))

    with output_lock(tmp_path / "g"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "which is being written by process" in found[0]
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_folder_of_floats_is_continued(drawn, tmp_path, monkeypatch):
    """Earlier versions kept the images as floats."""
    from kddim.experiments import generation as module

    generation(drawn).run(tmp_path / "a.npz")
    monkeypatch.setattr(module, "to_uint8", lambda images: images)
    monkeypatch.setattr(module, "write_images", None)
    with pytest.raises(TypeError):
        generation(drawn).run(tmp_path / "b.npz")
    monkeypatch.undo()
    generation(drawn).run(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_generated_images_that_are_not_finite_are_refused(model, tmp_path, monkeypatch):
    nan = np.full((2, 8, 8, 1), np.nan, "float32")
    monkeypatch.setattr(Generation, "generate", lambda *arguments: nan)
    with pytest.raises(ValueError, match="NaN or infinite values among the generated images"):
        generation(model).run(tmp_path / "g")
    assert list(tmp_path.iterdir()) == []

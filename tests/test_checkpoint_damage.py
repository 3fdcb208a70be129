"""A damaged checkpoint is recognised every time, and the one before it is taken."""

import random
import shutil

import pytest
from conftest import make_model

checkpoints = pytest.importorskip("kddim.checkpoints")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two checkpoints of one small model."""
    import numpy as np

    images = np.random.default_rng(0).random((8, 8, 8, 1)).astype("float32")
    model = make_model(images, widths=(4, 8))
    model.fit(images, batch_size=4, verbose=0)
    kept = checkpoints.CheckpointFolder(tmp_path_factory.mktemp("run") / "checkpoints")
    for steps in (3, 6):
        kept.save(model, checkpoints.RunState(epoch=0, step=steps, steps=steps, time=0.0))
    return kept.folder


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy of the folder, and its newest file."""
    shutil.copytree(folder, tmp_path / "checkpoints")
    copy = checkpoints.CheckpointFolder(tmp_path / "checkpoints")
    return copy, copy.paths()[0]


def check_recognised(copy, path):
    """The file is refused, and the folder gives the checkpoint before it."""
    with pytest.raises(ValueError, match="Expected a whole checkpoint"):
        checkpoints.read_checkpoint(path)
    state, *_ = copy.load()
    assert state.steps == 3


def test_a_whole_checkpoint_is_read(damaged):
    copy, path = damaged
    assert checkpoints.read_checkpoint(path)[0].steps == 6
    assert copy.load()[0].steps == 6


@pytest.mark.parametrize("tenth", range(10))
def test_a_truncated_checkpoint_is_recognised(damaged, tenth):
    copy, path = damaged
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * tenth // 10])
    check_recognised(copy, path)


@pytest.mark.parametrize("lost", [1, 2, 63, 64, 65, 4096])
def test_a_checkpoint_without_its_last_bytes_is_recognised(damaged, lost):
    copy, path = damaged
    path.write_bytes(path.read_bytes()[:-lost])
    check_recognised(copy, path)


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_byte_is_recognised(damaged, seed):
    """20 flips per seed, 200 in all, some of them in the headers and in the checksum."""
    copy, path = damaged
    whole, generator = path.read_bytes(), random.Random(seed)
    for _ in range(20):
        end = generator.choice((len(whole), 4096))
        place = generator.choice(
            (generator.randrange(end), len(whole) - 1 - generator.randrange(64))
        )
        data = bytearray(whole)
        data[place] ^= generator.randrange(1, 256)
        path.write_bytes(bytes(data))
        check_recognised(copy, path)


def test_two_damaged_checkpoints_are_told(damaged):
    copy, _ = damaged
    for path in copy.paths():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="none that is whole"):
        copy.load()


@pytest.mark.parametrize("extra", [b"\0", b"PK", bytes(4096)], ids=["one", "two", "block"])
def test_a_longer_checkpoint_is_recognised(damaged, extra):
    copy, path = damaged
    path.write_bytes(path.read_bytes() + extra)
    check_recognised(copy, path)

"""Shards: parts of a sample that several processes make, which together are the whole."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import stopped_after
from disk_faults import Faults, Killed
from keras import ops

import kddim
from kddim import cli
from kddim.experiments import Generation, GenerationShard
from kddim.shards import Shard

FAULTS = Faults()


@pytest.fixture(scope="module")
def model():
    noisy, variances = keras.Input((8, 8, 1)), keras.Input((1, 1, 1))
    network = keras.Model([noisy, variances], noisy * ops.sqrt(variances))
    return kddim.DiffusionModel(8, channels=1, network=network)


def contents(path):
    """Bytes of a file, or of all files in a folder by name, hidden ones included."""
    if path.is_dir():
        return {str(p.relative_to(path)): contents(p) for p in path.rglob("*") if p.is_file()}
    return path.read_bytes() if path.exists() else None


def whole(model, output, **options):
    Generation(model=model, **options).run(output)
    return contents(output)


def shard(model, index, count, output, overwrite=False, **options):
    GenerationShard(model=model, shard=(index, count), **options).run(output, overwrite=overwrite)


@pytest.mark.parametrize(("total", "count"), [(18, 8), (8, 8), (1000, 7), (5, 1)])
def test_shards_are_equal_parts_that_cover_all_images_once(total, count):
    rows = [shard.rows(total) for shard in Shard(1, count).siblings()]
    assert list(itertools.chain(*rows)) == list(range(total))
    assert {len(part) for part in rows} <= {total // count, -(-total // count)}


@pytest.mark.parametrize(
    "value",
    ["0/8", "9/8", "2", "2/", "-1/8", "1.0/2", "a/b", "1/1000000", ""]
    + [None, 5, b"1/2", (1, 2, 3), (1.0, 2.0), ("1", "2"), (True, 2), (3, 2)],
)
def test_other_values_are_no_shards(value):
    with pytest.raises(ValueError, match=r"Expected a shard I/N .* 2/8 is the second eighth"):
        Shard.of(value)


def test_pairs_are_shards_and_the_constructor_checks_them():
    assert (
        Shard.of((1, 2)) == Shard.of([np.int64(1), np.int64(2)]) == Shard.of("1/2") == Shard(1, 2)
    )
    with pytest.raises(ValueError, match=r"Expected a shard I/N .* Received: 3/2"):
        Shard(3, 2)


def test_more_shards_than_images_are_refused(model):
    with pytest.raises(ValueError, match=r"at least one image per shard\. Received: 3 images in 8"):
        GenerationShard(model=model, num_images=3, shard="2/8")


@pytest.mark.backend
@pytest.mark.parametrize("name", ["s", "s.png", "s.npz"])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shards_in_any_order_are_the_whole_byte_for_byte(model, name, order, tmp_path):
    options = {"num_images": 11, "diffusion_steps": 2, "batch_size": 4, "sampler": "ddpm"}
    expected = whole(model, tmp_path / "whole" / name, **options)
    output = tmp_path / "shards" / name
    for index in order:
        assert (output / "grid.png").exists() is False
        shard(model, index, 3, output, **options)
    assert contents(output) == expected
    assert [p.name for p in output.parent.iterdir()] == [name]


def test_a_new_folder_receives_the_pictures_of_a_shard_under_their_names(model, tmp_path, caplog):
    caplog.set_level("INFO", "kddim")
    options = {"num_images": 16, "diffusion_steps": 1, "batch_size": 16}
    expected = whole(model, tmp_path / "whole", **options)
    shard(model, 2, 8, tmp_path / "s", **options)
    names = ["00002.png", "00003.png"]
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == names
    assert contents(tmp_path / "s") == {name: expected[name] for name in names}
    assert "1 of 8 shards are there, missing: 1/8, 3/8, 4/8" in caplog.text
    assert "shard 2/8 computes 16 images to keep 2" in caplog.text


def test_an_animation_comes_with_the_last_shard(model, tmp_path):
    options = {"num_images": 4, "diffusion_steps": 2, "batch_size": 2, "animate": True}
    expected = whole(model, tmp_path / "whole", **options)
    for index in (2, 1):
        shard(model, index, 2, tmp_path / "s", **options)
    assert "animation.gif" in expected
    assert contents(tmp_path / "s") == expected


def test_an_earlier_output_stays_until_all_shards_are_there(model, tmp_path):
    options = {"num_images": 4, "diffusion_steps": 1, "batch_size": 2}
    expected = whole(model, tmp_path / "whole", **options)
    before = whole(model, tmp_path / "s", num_images=6, diffusion_steps=1, seed=5)
    (tmp_path / "s" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="Expected an output that does not exist yet"):
        shard(model, 1, 2, tmp_path / "s", **options)
    shard(model, 1, 2, tmp_path / "s", overwrite=True, **options)
    assert contents(tmp_path / "s") == before | {"notes.txt": b"mine"}
    shard(model, 2, 2, tmp_path / "s", overwrite=True, **options)
    assert contents(tmp_path / "s") == expected | {"notes.txt": b"mine"}


def test_shards_with_other_settings_are_refused_or_discarded(model, tmp_path):
    options = {"num_images": 4, "diffusion_steps": 1, "batch_size": 2}
    shard(model, 1, 2, tmp_path / "s.npz", **options, seed=5)
    with pytest.raises(ValueError, match=r"which has other settings \(seed 5, now 0"):
        shard(model, 2, 2, tmp_path / "s.npz", **options)
    shard(model, 2, 2, tmp_path / "s.npz", overwrite=True, **options)
    assert not (tmp_path / "s.npz").exists()  # the first shard was discarded
    shard(model, 1, 2, tmp_path / "s.npz", **options)
    assert contents(tmp_path / "s.npz") == whole(model, tmp_path / "whole.npz", **options)


def test_a_shard_that_was_stopped_continues(model, tmp_path, caplog):
    caplog.set_level("INFO", "kddim")
    options = {"num_images": 12, "diffusion_steps": 1, "batch_size": 2}
    with stopped_after(Generation, 2):
        shard(model, 2, 2, tmp_path / "s.npz", **options)
    for index in (2, 1):
        shard(model, index, 2, tmp_path / "s.npz", **options)
    assert "1 of 3 parts to do" in caplog.text
    assert contents(tmp_path / "s.npz") == whole(model, tmp_path / "whole.npz", **options)


@pytest.mark.parametrize("name", ["s", "s.npz"])
def test_shards_at_once_are_the_whole(model, name, tmp_path):
    options = {"num_images": 19, "diffusion_steps": 1, "batch_size": 2}
    expected = whole(model, tmp_path / "whole" / name, **options)
    output = tmp_path / "shards" / name
    threads = [
        threading.Thread(target=shard, args=(model, index, 8, output), kwargs=options)
        for index in (3, 1, 8, 2, 7, 5, 6, 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(output) == expected
    assert [p.name for p in output.parent.iterdir()] == [name]


def test_a_shard_that_another_process_computes_is_refused(model, tmp_path, monkeypatch):
    options = {"num_images": 4, "diffusion_steps": 1, "batch_size": 2}
    entered, leave = threading.Event(), threading.Event()
    compute = Generation.compute

    def wait(self, *args):
        entered.set()
        leave.wait(60)
        return compute(self, *args)

    monkeypatch.setattr(Generation, "compute", wait)
    other = threading.Thread(target=shard, args=(model, 1, 2, tmp_path / "s"), kwargs=options)
    other.start()
    assert entered.wait(60)
    with pytest.raises(ValueError, match="Expected an output that no other process writes"):
        shard(model, 1, 2, tmp_path / "s", **options)
    leave.set()
    other.join()
    shard(model, 2, 2, tmp_path / "s", **options)
    assert contents(tmp_path / "s") == whole(model, tmp_path / "whole", **options)


@pytest.mark.parametrize(("name", "overwrite"), [("s", False), ("s.npz", False), ("s", True)])
def test_a_shard_killed_at_any_operation_is_run_again(
    model, name, overwrite, tmp_path, monkeypatch
):
    def draw(self, cell, callback):
        random = np.random.default_rng([self.seed, cell.options["start"]])
        return random.random((cell.num_images, 8, 8, 1)).astype("float32")

    monkeypatch.setattr(Generation, "generate", draw)
    options = {"num_images": 4, "diffusion_steps": 1, "batch_size": 2}
    expected = whole(model, tmp_path / "whole" / name, **options)
    for count in itertools.count(1):
        output = tmp_path / str(count) / name
        if overwrite:
            whole(model, output, num_images=5, diffusion_steps=1, seed=5)
        shard(model, 1, 2, output, overwrite, **options)
        FAULTS.after(count, output.parent)
        with contextlib.suppress(Killed):
            shard(model, 2, 2, output, overwrite, **options)
        FAULTS.stop()
        if FAULTS.left > 0:
            break
        if contents(output) != expected or list(output.parent.glob(".*.shards")):
            # It exists already if the process was killed while it cleaned up.
            with contextlib.suppress(ValueError):
                shard(model, 2, 2, output, overwrite, **options)
        assert contents(output) == expected
    assert count > 5


def test_shards_on_the_command_line(model, tmp_path, monkeypatch):
    monkeypatch.setattr("kddim.presets.load_model", lambda *args, **options: model)
    words = ["generate", "m.keras", "-n", "6", "--diffusion-steps", "1", "-o", str(tmp_path / "s")]
    for index, told in ((2, "images 3 to 5 of 6"), (1, "images 0 to 2 of 6")):
        result = CliRunner().invoke(cli.app, [*words, "--shard", f"{index}/2"])
        assert (result.exit_code, told in result.output) == (0, True), result.output
    assert len(list((tmp_path / "s").iterdir())) == 7
    result = CliRunner().invoke(cli.app, [*words, "--shard", "1/2"])
    assert "Expected an output that does not exist yet" in str(result.exception)
    result = CliRunner().invoke(
        cli.app, ["generate", "m.keras", "--animate", "-o", "a.gif", "--shard", "1/2"]
    )
    assert "Expected a folder, a .png or a .npz file with --shard" in str(result.exception)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s", "s.npz"])
def test_eight_processes_at_once_one_of_them_killed(images, tmp_path, name):
    """The proof of the issue: the output of eight processes is that of one."""
    from conftest import make_model

    make_model(images, widths=(4, 8)).save(tmp_path / "m.keras")
    command = [sys.executable, "-m", "kddim", "generate", str(tmp_path / "m.keras"), "-n", "400"]
    command += ["--batch-size", "10", "--diffusion-steps", "4"]
    subprocess.run([*command, "-o", str(tmp_path / "whole" / name)], check=True)
    output = tmp_path / "shards" / name
    shards = [[*command, "-o", str(output), "--shard", f"{i}/8"] for i in range(1, 9)]
    processes = [subprocess.Popen(words) for words in shards]
    hidden = output.with_name(f".{name}.shards") / "3of8"
    while not list(hidden.glob("arrays/*.npy")):
        time.sleep(0.02)
    os.kill(processes[2].pid, signal.SIGKILL)
    assert [process.wait(600) for process in processes].count(0) >= 7
    subprocess.run(shards[2], check=True)
    assert contents(output) == contents(tmp_path / "whole" / name)
    assert [p.name for p in output.parent.iterdir()] == [name]

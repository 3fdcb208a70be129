"""`kddim info`: the state of a run, and several runs beside each other."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from kddim import run_state, runs
from kddim.cli import main
from kddim.plots import plot_runs
from kddim.run_comparison import RunComparison

CONFIG = {
    "training": {"source": "digits", "batch_size": 10, "epochs": 20, "widths": [8, 16]},
    "parameters": 1234,
    "kid": {"encoder": "random_conv", "generated_images": 100, "best": 0.25},
    "best_epoch": 3,
    "command": "kddim train digits",
    "versions": {"backend": "jax"},
}
ROWS = [
    {"epoch": 1, "seconds": 90.0, "loss": 0.9, "n_loss": 0.9, "val_n_loss": 0.8},
    {"epoch": 2, "seconds": 30.0, "loss": 0.7, "n_loss": 0.7, "val_n_loss": 0.6, "val_kid": 0.5},
    {"epoch": 3, "seconds": 30.0, "loss": 0.5, "n_loss": 0.5, "val_n_loss": 0.4, "val_kid": 0.25},
    {"epoch": 4, "seconds": 30.0, "loss": 0.4, "n_loss": 0.4, "val_n_loss": 0.3, "val_kid": 0.3},
]


def kddim(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return end.value.code


@pytest.fixture
def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def make_run(folder, rows=ROWS, config=CONFIG, **state):
    """A run folder as a killed process leaves it, without a model."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "newest").touch()
    (folder / "config.json").write_text(json.dumps(config))
    if rows:
        with (folder / "history.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(ROWS[1]))
            writer.writeheader()
            writer.writerows(rows)
        os.utime(folder / "history.csv", (time.time() - 180,) * 2)
    if state:
        whole = {
            "epoch": 4, "step": 5, "epochs": 20, "steps_per_epoch": 50, "finished": False,
            "pid": os.getpid(), "host": socket.gethostname(), "updated": time.time() - 180,
            "images_per_second": 1234.5,
        }  # fmt: skip
        (folder / "state.json").write_text(json.dumps(whole | state))
    return folder


def lines_of(folder):
    return run_state.describe_state(run_state.read_run(folder))


def test_a_stopped_run_says_how_to_go_on(tmp_path, dead_pid):
    folder = make_run(tmp_path / "my run", pid=dead_pid)
    (folder / "skipped.txt").write_text("a.png\tempty\nb.png\ttruncated\n")
    assert lines_of(folder) == {
        "state": "stopped at epoch 4 of 20, step 5 of 50; last sign of life 3 min ago",
        "go on": f"kddim train --resume '{folder}'",
        "speed": "1,230 images per second, 30 s per epoch",
        "time left": "8 min",  # 15.9 epochs of 30 s
        "best KID": "0.25 in epoch 3",
        "last losses": "loss 0.4, n_loss 0.4, val_n_loss 0.3",
        "skipped files": f"2, see {folder}/skipped.txt",
    }


def test_a_running_run_has_a_live_process(tmp_path):
    lines = lines_of(make_run(tmp_path / "run", updated=time.time()))
    wanted = f"running (process {os.getpid()}) at epoch 4 of 20, step 5 of 50; last sign"
    assert lines["state"].startswith(wanted)
    assert "go on" not in lines


def test_another_process_with_the_same_number_is_not_the_run(tmp_path):
    """This process began after the state was written."""
    lines = lines_of(make_run(tmp_path / "run", updated=1e9))
    assert lines["state"].startswith("stopped at epoch 4")


@pytest.mark.parametrize(("seconds", "word"), [(60, "running (on far)"), (86400 * 3, "stopped")])
def test_a_run_on_another_host_is_alive_for_some_minutes(tmp_path, seconds, word):
    folder = make_run(tmp_path / "run", host="far", updated=time.time() - seconds, pid=1)
    os.utime(folder / "history.csv", (time.time() - seconds,) * 2)
    state = lines_of(folder)["state"]
    assert state.startswith(word)
    assert state.endswith("60 s ago" if seconds == 60 else "3 days ago")


def test_a_finished_run(tmp_path):
    lines = lines_of(make_run(tmp_path / "run", finished=True, epoch=12, step=0))
    assert lines["state"] == "finished, 12 of 20 epochs"
    assert {"go on", "time left"}.isdisjoint(lines)


def test_a_run_of_an_older_version_has_no_state(tmp_path):
    folder = make_run(tmp_path / "run")
    assert lines_of(folder)["state"].startswith("stopped at epoch 4 of 20; last sign of life 3 min")
    short = CONFIG | {"training": CONFIG["training"] | {"epochs": 4, "steps_per_epoch": 60}}
    lines = lines_of(make_run(tmp_path / "other", config=short))
    assert lines["state"] == "finished, 4 of 4 epochs"
    assert lines["speed"] == "20 images per second, 30 s per epoch"


def test_a_run_without_a_checkpoint_cannot_be_resumed(tmp_path, dead_pid):
    folder = make_run(tmp_path / "run", rows=(), pid=dead_pid, epoch=0, step=0)
    (folder / "checkpoints" / "newest").unlink()
    assert lines_of(folder) == {
        "state": "stopped at epoch 0 of 20; last sign of life 3 min ago",
        "go on": "no checkpoint was saved; train again with --overwrite",
    }


DAMAGES = [b"", b"{", b"null", b"[1]", b'"x"', b"\xff\xfe\x00", b'{"epoch": "x", "finished": 1}',
           b'{"epoch": null, "pid": -7, "updated": 1e300, "host": [], "epochs": true}',
           b'{"training": null, "kid": [1], "versions": 7}']  # fmt: skip


@pytest.mark.parametrize("name", ["state.json", "config.json", "history.csv"])
@pytest.mark.parametrize("damage", range(len(DAMAGES)))
def test_a_damaged_file_is_a_missing_one(tmp_path, capsys, name, damage):
    folder = make_run(tmp_path / "run", finished=False)
    (folder / name).write_bytes(DAMAGES[damage])
    assert runs.describe(folder)["state"]
    comparison = RunComparison([folder, make_run(tmp_path / "other")])
    assert comparison.results()
    comparison.settings()
    comparison.plot(tmp_path / "curves.png")


def test_info_describes_a_run_that_has_no_model_yet(tmp_path, capsys):
    folder = make_run(tmp_path / "run", finished=False, pid=0)
    assert kddim("info", folder) == 0
    printed = capsys.readouterr().out
    for line in (f"go on: +kddim train --resume {folder}", "file: +no model.keras yet",
                 "training source: +digits", "version backend: +jax"):  # fmt: skip
        assert re.search(f"^{line}$", printed, re.MULTILINE), printed


def test_info_of_a_folder_that_is_no_run(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert kddim("info", tmp_path / "empty") == 2
    assert "there is no" in capsys.readouterr().err


def test_info_of_several_runs_is_what_differs_and_one_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    other = json.loads(json.dumps(CONFIG).replace("random_conv", "mobilenet"))
    other["training"] |= {"batch_size": 64, "ema": 0.99}
    make_run(tmp_path / "a", finished=True)
    make_run(tmp_path / "b", config=other, rows=ROWS[:2], finished=True)
    make_run(tmp_path / "c", rows=(), finished=True)
    assert kddim("info", "a", "b", "c") == 0
    told = capsys.readouterr().out.splitlines()
    rows = [re.split("  +", line.strip()) for line in told]
    settings = rows[2 : rows.index([""])]
    assert settings == [
        ["batch_size", "10", "64", "10"], ["KID encoder", "random_conv", "mobilenet", "random_conv"],
        ["ema", "-", "0.99", "-"],
    ]  # fmt: skip
    assert ["best KID", "0.25 in epoch 3", "0.5 in epoch 2", "-"] in rows
    assert "note: c has no finished epoch" in told
    assert "note: the KIDs were measured differently, and do not compare" in told
    assert told[-1] == "curves: comparison.png"
    before = (tmp_path / "comparison.png").read_bytes()
    assert kddim("info", "a", "b") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "comparison.png").read_bytes() == before
    assert kddim("info", "a", "b", "--overwrite") == 0
    assert kddim("info", "a", "b", "--output", "other.png") == 0
    assert Image.open("other.png").size[0] > 1000


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["a", "a"], "two different runs"),
        (["a", "missing"], "a run folder"),
        (["a", "b", "-o", "curves.jpg"], ".png"),
        (["a", "--output", "curves.png"], "several runs"),
        (["b", "c"], "finished epoch"),
    ],
)
def test_runs_that_cannot_be_compared(tmp_path, monkeypatch, capsys, arguments, match):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", rows=())
    make_run(tmp_path / "c", rows=())
    before = sorted(tmp_path.rglob("*"))
    assert kddim("info", *arguments) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_runs_of_the_same_name_are_told_apart_by_their_paths(tmp_path):
    found = RunComparison([make_run(tmp_path / "x" / "run"), make_run(tmp_path / "y" / "run")])
    assert list(found.runs) == [f"{tmp_path}/x/run", f"{tmp_path}/y/run"]
    assert found.settings() == []
    assert found.remarks() == ["the runs have the same settings"]


def test_curves_of_runs_take_any_name_and_values_that_are_not_finite(tmp_path):
    rows = [{"epoch": 1, "n_loss": float("nan"), "val_kid": -0.1}, {"epoch": 2, "n_loss": 1.0}]
    path = plot_runs({"$a_b": rows, "_c": rows[1:], "d": [{"epoch": 1}]}, tmp_path / "x.png")
    assert np.asarray(Image.open(path).convert("L")).std() > 5

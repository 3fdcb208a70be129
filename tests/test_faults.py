"""The attacks of `faults` recognise what they look for; a part of them is made here."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from faults import report
from faults.attack import AREAS, BAD, Failure
from faults.box import Box, leftover
from faults.process import Report
from faults.zips import npy_header, write_bomb

ROOT = Path(__file__).parents[1]
ERROR = "kddim: error: Expected a file. Received: nothing\n"


def ended(status=0, out="", err="", over="", killed=False):
    return Report(("verb",), status, out, err, 1.0, 10**6, over, killed)


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path / "box", tmp_path, 0)


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (ended(), None),
        (ended(2, err=ERROR), None),
        (ended(2, err="a log line\n" + ERROR), None),
        (ended(-9, killed=True), None),
        (ended(130, err="interrupted", killed=True), None),
        (ended(1, err="Traceback (most recent call last):"), "traceback"),
        (ended(0, err="Traceback (most recent call last):"), "traceback"),
        (ended(1), "traceback"),
        (ended(-11), "traceback"),
        (ended(-9), "traceback"),
        (ended(over="hang"), "hang"),
        (ended(over="memory"), "memory"),
        (ended(2, err=ERROR + "and another line"), "wrong"),
        (ended(2, err=ERROR + ERROR), "wrong"),
        (ended(2), "wrong"),
        (ended(2, err="kddim: error: \n"), "wrong"),
        (ended(0, out="\x1b[31mred"), "wrong"),
    ],
)
def test_ends_are_judged(box, end, outcome):
    if outcome is None:
        box.judge(end)
    else:
        with pytest.raises(Failure) as failure:
            box.judge(end)
        assert failure.value.outcome == outcome


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".model.partial.keras", True),
        ("run/.config.partial.json", True),
        (".g.unfinished/record.json", True),
        (".g.fd33zfyx/00000.png", True),
        ("model.keras", False),
        ("run/samples/epoch_0001.png", False),
        (".lock", False),
    ],
)
def test_leftovers_are_known_by_their_names(path, expected):
    assert leftover(path) is expected


def test_a_refused_command_that_writes_is_a_loss(box, monkeypatch):
    class Writing:
        def wait(self):
            box.path("new").write_text("half")
            return ended(2, err=ERROR)

    monkeypatch.setattr(box, "start", lambda *args, **options: Writing())
    with pytest.raises(Failure, match="lost: a refused command changed"):
        box.kddim("verb")


def test_bombs_inflate_to_what_they_claim(tmp_path):
    head = npy_header((10_000, 100), "|u1")
    write_bomb(tmp_path / "bomb.npz", "images.npy", head, 10**6, {"other.txt": b"hello"})
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    assert zipfile.ZipFile(tmp_path / "bomb.npz").testzip() is None
    assert np.load(tmp_path / "bomb.npz")["images"].shape == (10_000, 100)


def in_child(hook, act):
    """Call a function after a hook in another process, and return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            hook()
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_process_is_killed_at_its_nth_change_of_the_disk(tmp_path):
    from faults.hooks import kill_at

    def act():
        for name in "abcd":
            (tmp_path / name).write_text(name)

    assert in_child(kill_at(2, tmp_path / "log"), act) == -9
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "log"]


def test_a_process_is_killed_in_the_middle_of_a_write(tmp_path):
    from faults.hooks import kill_in_write

    def act():
        np.savez(tmp_path / "first.npz", a=np.zeros(100_000))
        np.savez(tmp_path / "second.npz", a=np.zeros(100_000))

    assert in_child(kill_in_write("*/second.npz", 0, 50_000, 9), act) == -9
    assert (tmp_path / "first.npz").stat().st_size > 800_000
    assert 0 < (tmp_path / "second.npz").stat().st_size < 800_000


def test_a_disk_is_full_after_some_bytes(tmp_path):
    from faults.hooks import full_after

    def act():
        (tmp_path / "a").write_bytes(bytes(600))
        with pytest.raises(OSError, match="space"):
            (tmp_path / "b").write_bytes(bytes(600))

    assert in_child(full_after(1000, tmp_path), act) == 0


def test_the_table_counts_areas_by_outcomes():
    results = [
        {"area": "images", "outcome": "clean", "finding": ""},
        {"area": "images", "outcome": "lost", "finding": "9"},
        {"area": "load", "outcome": "broken", "finding": ""},
    ]
    lines = report.table(results).splitlines()
    assert "| images | 2 | 1 | 0 | 0 | 0 | 0 | 0 | 1 |" in lines
    assert "| **all** | 2 | 1 | 0 | 0 | 0 | 0 | 0 | 1 |" in lines
    assert lines[-1].startswith("1 attacks failed themselves")
    assert "| 9 | 1 | 1 |" in report.findings(results)


def test_every_attack_has_a_name_and_an_area_of_its_own():
    from faults.areas import all_attacks

    attacks = all_attacks(0)
    assert len(attacks) > 1000
    assert {attack.area for attack in attacks} <= set(AREAS)
    assert [attack.name for attack in attacks] == [attack.name for attack in all_attacks(0)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the attacks watch processes in /proc")
def test_a_part_of_the_attacks_finds_nothing(tmp_path):
    """Ten minutes: all that were faults once, and a tenth of the others."""
    table = tmp_path / "faults.md"
    skipped = [f"--only={area}" for area in AREAS if area != "kills"]
    done = subprocess.run(
        [sys.executable, "-m", "faults", "--part", "0.1", "--minutes", "10", *skipped,
         "--work", tmp_path / "work", "-o", table],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    results = report.read_ledger(table.with_suffix(".jsonl"))
    bad = [result["name"] for result in results if result["outcome"] in BAD]
    assert not bad, table.read_text()
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(results) > 100

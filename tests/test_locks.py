"""Locks on outputs: who waits, who is told, and what stays on the disk."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from kddim.locks import output_lock

HOLDER = """
import sys, time
from kddim.locks import output_lock
with output_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `out`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_told_who_writes(holder, tmp_path):
    words = rf"out, which is being written by process {holder.pid} on .+\. Wait for it, or choose"
    with pytest.raises(ValueError, match=words), output_lock(tmp_path / "out"):
        pass
    with output_lock(tmp_path / "other"):  # a name beside it is free
        pass


def test_the_lock_of_a_killed_process_is_free_and_its_file_goes(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert [p.name for p in tmp_path.iterdir()] == [".out.lock"]
    with output_lock(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_behind_and_missing_parents_go_if_they_are_empty(tmp_path):
    with output_lock(tmp_path / "new" / "deep" / "out"):
        assert (tmp_path / "new" / "deep" / ".out.lock").exists()
    assert list(tmp_path.iterdir()) == []
    with output_lock(tmp_path / "new" / "deep" / "out"):
        (tmp_path / "new" / "deep" / "out").mkdir()
    assert [p.name for p in (tmp_path / "new" / "deep").iterdir()] == ["out"]


def test_a_thread_may_take_its_lock_again_and_another_thread_may_not(tmp_path):
    found = []

    def other():
        try:
            with output_lock(tmp_path / "out"):
                found.append("both")
        except ValueError as error:
            found.append(str(error))

    with output_lock(tmp_path / "out"):
        with output_lock(tmp_path / "out"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} on" in found[0]


def test_a_link_and_its_target_are_one_output(holder, tmp_path):
    (tmp_path / "link").symlink_to("out")
    with pytest.raises(ValueError, match="being written by"), output_lock(tmp_path / "link"):
        pass


def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    import filelock

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    caplog.set_level("INFO", "kddim")
    with output_lock(tmp_path / "out"):
        (tmp_path / "out").touch()
    assert "the file system has no locks" in caplog.text


def test_many_processes_on_one_output_write_one_after_the_other(tmp_path):
    """Each tries until it holds the lock; the file is removed and made again each time."""
    program = """
import pathlib, sys, time
from kddim.locks import output_lock
counter, tries = pathlib.Path(sys.argv[1]), 0
while tries < 15:
    try:
        with output_lock(counter):
            value = int(counter.read_text()) + 1
            time.sleep(0.001)
            counter.write_text(str(value))
            tries += 1
    except ValueError:
        pass
"""
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", program, str(counter)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert counter.read_text() == "45"
    assert [p.name for p in tmp_path.iterdir()] == ["counter"]

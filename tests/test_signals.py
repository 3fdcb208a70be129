"""Signals at every stage of a command: exit status, one line, and nothing left behind."""

import signal
import subprocess
import sys
import time

import pytest

from kddim import cli, signals

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SWALLOWED = """
import os, signal, sys
from kddim import cli, signals

def stop():
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(1000):
            pass
    except BaseException:
        pass

def verb():
    {body}
    print("to its end")

cli.app.main = lambda *arguments, **options: verb()
cli.main([])
"""


def run(body, number=signal.SIGINT):
    program = SWALLOWED.format(body=body)
    command = [sys.executable, "-c", program, str(int(number))]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("number", STATUS)
def test_a_signal_that_an_import_swallows_ends_the_process_at_once(number):
    answer = run("stop()", number)
    assert (answer.returncode, answer.stderr, answer.stdout) == (
        STATUS[number],
        "interrupted\n",
        "",
    )


def test_a_signal_while_standard_error_is_muted_is_still_told():
    answer = run("from kddim.cli import runtime\n    with runtime._muted_standard_error(): stop()")
    assert (answer.returncode, answer.stderr) == (130, "interrupted\n")


def test_a_swallowed_signal_stops_the_work_at_its_next_part():
    answer = run(
        "from kddim.progress import Progress; signals.unwind()\n"
        "    p = Progress(lambda count: print('part'), print); p.advance(1); stop(); p.advance(1)"
    )
    assert (answer.returncode, answer.stdout) == (130, "part\n")
    assert answer.stderr.endswith("interrupted\n")  # TensorFlow may write lines when it starts


def test_a_swallowed_signal_is_found_at_the_end_or_in_another_error():
    answer = run("signals.unwind(); stop()")
    assert (answer.returncode, answer.stderr) == (130, "interrupted\n")
    for error in ("ValueError('of a framework')", "RuntimeError('of a framework')"):
        answer = run(f"signals.unwind(); stop(); raise {error}")
        assert (answer.returncode, answer.stderr) == (130, "interrupted\n")


def test_a_signal_while_garbage_is_collected_shows_no_traceback():
    answer = run(
        "signals.unwind()\n"
        "    class Garbage:\n"
        "        def __del__(self):\n"
        "            os.kill(os.getpid(), int(sys.argv[1]))\n"
        "            for _ in range(1000): pass\n"
        "    Garbage(); signals.check()"
    )
    assert (answer.returncode, answer.stderr) == (130, "interrupted\n")


def test_a_second_signal_ends_the_process_at_once():
    answer = run("signals.unwind(); stop(); stop(); signals.check()")
    assert (answer.returncode, answer.stdout, answer.stderr) == (130, "", "interrupted\n")


def test_an_ignored_signal_stays_ignored_and_handlers_come_back():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handled():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("status", "error"), [(130, KeyboardInterrupt()), (143, signals.Interrupted(143))])  # fmt: skip
def test_an_interruption_in_a_verb_is_one_line(status, error, monkeypatch, capsys):
    def interrupted(context):
        raise error

    monkeypatch.setattr(cli.app.commands["info"], "invoke", interrupted)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["info", "x"])
    assert stopped.value.code == status
    assert capsys.readouterr().err == "interrupted\n"


@pytest.fixture
def saved(tmp_path):
    import kddim

    model = kddim.DiffusionModel(8, (4, 8), 1, channels=1)
    model.save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def start(saved):
    """A command that runs for minutes, in a process of its own."""
    command = [sys.executable, "-m", "kddim", "generate", str(saved), "-n", "1000", "--batch-size"]
    command += ["1", "--diffusion-steps", "100", "--output", str(saved.parent / "out" / "g")]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def end(process):
    """Return the messages of a command, which never outlives its test."""
    try:
        return process.communicate(timeout=60)[1]
    finally:
        process.kill()


@pytest.mark.backend
@pytest.mark.parametrize("seconds", [0.3, 0.7, 1.2, 1.8, 2.4, 3.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_can_be_stopped_at_any_moment_of_its_start(saved, number, seconds):
    process = start(saved)
    time.sleep(seconds)
    process.send_signal(number)
    error = end(process)
    assert error.endswith("interrupted\n") or not error
    # Before Python reads its first file, only the system handles signals.
    assert process.returncode in (STATUS[number], -number)
    assert "Traceback" not in error
    assert not (saved.parent / "out" / ".g.lock").exists()


@pytest.mark.backend
def test_a_command_that_writes_cleans_up_and_can_go_on(saved):
    process, out = start(saved), saved.parent / "out"
    while not list(out.glob(".g.unfinished/arrays/*.npy")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    error = end(process)
    assert process.returncode == 143
    assert error.endswith("stopped: run the same command again to continue\ninterrupted\n")
    assert [p.name for p in out.iterdir()] == [".g.unfinished"]
    assert not [p for p in out.rglob("*") if ".partial" in p.name]

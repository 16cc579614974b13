"""What signals do: to a command, to a run that trains, and to a step that takes too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from aam import cli, stopping
from aam.cli.terminal import TERMINAL
from aam.errors import TableError
from aam.stopping import STOP_SIGNALS, Stopped, StopRequest, end_on_signals


def ask(number: int) -> None:
    """Send a signal to this process, and let Python notice."""
    os.kill(os.getpid(), number)
    time.sleep(0.001)


@pytest.fixture(autouse=True)
def usual_hangup():
    """What a terminal that closes does by default, even where `nohup` has started the tests: it is inherited."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def handlers_stay(usual_hangup: None):
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    yield
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    assert not [thread.name for thread in threading.enumerate() if thread.name == "aam-signals"]


def stopped_in(work: Callable[[], object]) -> str:
    """The name of the signal that ends some work; fails where none does."""
    try:
        work()
    except Stopped as stopped:
        return stopped.name
    raise AssertionError("it went on")


@pytest.mark.parametrize("begin", [StopRequest, lambda: TERMINAL.stage("more"), lambda: TERMINAL.progress("more")])
def test_a_signal_that_a_library_swallows_ends_what_begins_next(begin: Callable[[], Any]):
    def work() -> None:
        with end_on_signals():
            with suppress(KeyboardInterrupt):  # as `except:` around an optional import does
                ask(signal.SIGTERM)
            with begin():
                raise AssertionError("it went on")

    assert stopped_in(work) == "SIGTERM"


def test_a_run_that_was_asked_to_end_may_begin_its_last_work():
    with end_on_signals(), StopRequest(patient=True) as stop:
        ask(signal.SIGTERM)
        with TERMINAL.stage("saving"):
            assert stop.requested
        stop.requested = False  # or its end would raise


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_the_work_of_a_command_by_name(number: int):
    def work() -> None:
        with end_on_signals():
            ask(number)

    assert stopped_in(work) == signal.Signals(number).name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_callback_whose_errors_python_drops_comes_again(number: int, capsys: pytest.CaptureFixture[str]):
    class Watched:
        """Anything that can be referred to weakly."""

    def work() -> None:
        watched = Watched()
        reference = weakref.ref(watched, lambda _: ask(number))
        del watched
        assert reference() is None
        time.sleep(5)  # the signal has been dropped

    start = time.monotonic()
    with pytest.raises(Stopped, match=signal.Signals(number).name), end_on_signals():
        work()
    assert time.monotonic() - start < 3 and capsys.readouterr().err == ""


def test_other_errors_that_python_drops_are_shown_as_ever(monkeypatch: pytest.MonkeyPatch):
    shown: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: shown.append(dropped.exc_value))

    class Broken:
        def __del__(self) -> None:
            raise TableError("x")

    with end_on_signals():
        Broken()
    assert [type(error) for error in shown] == [TableError]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_run_that_trains_is_asked_and_another_signal_at_once_is_the_same_request(number: int):
    seen = []

    def work() -> None:
        with end_on_signals(), StopRequest() as stop:
            seen.append(stop.requested)
            ask(number)
            ask(signal.SIGINT)
            seen.append(stop.requested)  # leaving the context ends the command, if nothing has ended it before

    assert stopped_in(work) == signal.Signals(number).name and seen == [False, True]


def test_a_later_signal_ends_the_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stopping, "ONE_SECONDS", 0.05)
    seen = []

    def work() -> None:
        with StopRequest():
            ask(signal.SIGTERM)
            time.sleep(0.06)
            seen.append("before")
            ask(signal.SIGINT)
            seen.append("after")

    assert stopped_in(work) == "SIGTERM" and seen == ["before"]


@pytest.mark.parametrize("patient", [False, True])
def test_a_step_that_takes_too_long_is_cut_off_if_no_other_process_waits(
    patient: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stopping, "STEP_SECONDS", 0.1)
    monkeypatch.setattr(stopping, "ONE_SECONDS", 0.05)
    seen = []

    def work() -> None:
        with StopRequest(patient):
            ask(signal.SIGTERM)
            time.sleep(0.3)
            seen.append("after")

    assert stopped_in(work) == "SIGTERM" and seen == ["after"] * patient


def test_nohup_is_respected_and_so_are_handlers_of_others(monkeypatch: pytest.MonkeyPatch):
    seen = []
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR1)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: seen.append("own"))
    try:
        with end_on_signals(), StopRequest() as stop:
            ask(signal.SIGHUP)
            ask(signal.SIGUSR1)
            assert not stop.requested and seen == ["own"]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_other_threads_leave_signals_alone():
    found = []

    def work() -> None:
        with end_on_signals(), StopRequest():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


def fail(error: Exception) -> Callable[[], None]:
    def work() -> None:
        try:
            ask(signal.SIGTERM)
        except Stopped:
            raise error from None  # as a library does that takes any exception for its own

    return work


@pytest.mark.parametrize("error", [RuntimeError("broken pipe of a child"), TableError("damaged")], ids=str)
def test_an_error_that_follows_from_a_signal_is_told_as_the_signal(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(cli.group, "main", lambda *args, **kwargs: fail(error)())
    assert cli.main(["models"]) == 4
    assert capsys.readouterr().err == "Error: interrupted by SIGTERM; start again\n"


LATE = "Error: interrupted by SIGTERM, and ended after 0 s without a new checkpoint\n"
HANGS = """
import threading
from aam import stopping

stopping.LAST_SECONDS = 0.5
with stopping.end_on_signals():
    waiting = threading.Event()
    print("ready", flush=True)
    for _ in range(2):  # a library that takes any exception for its own and tries again
        try:
            waiting.wait(60)
        except BaseException:
            pass
"""


def test_a_process_that_hangs_is_ended_all_the_same():
    process = subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (4, LATE)

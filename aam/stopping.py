"""Signals that ask a process to end: Ctrl-C, those of SLURM, and that of a connection that is lost.

A run that trains ends after its step, with a checkpoint (`StopRequest`); all other work ends at once by `Stopped`. A
command ends within `LAST_SECONDS` in any case, even if it hangs in code that is not Python (`end_on_signals`).
"""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from aam.errors import Interrupted

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ALWAYS = (signal.SIGINT, signal.SIGTERM)
"""Handled even where they were ignored, as in the background jobs of a script; `nohup` ignores SIGHUP for good."""
ONE_SECONDS = 3.0
"""Signals within this time are one request: schedulers and impatient users send several."""
STEP_SECONDS = 12.0
"""Time for a step or an evaluation to end; then it is cut off, and the state before it is saved."""
AGAIN_SECONDS = 0.2
"""Time after which a signal is sent once more because Python has dropped what it raised."""
LAST_SECONDS = 28.0
"""Time after which a command that has not ended is ended."""


class Stopped(KeyboardInterrupt):
    """Raised in the main thread where a signal ends work at once."""

    def __init__(self, name: str):
        super().__init__(f"interrupted by {name}")
        self.name = name


class SignalHandlers:
    """Context in which this object handles `STOP_SIGNALS`; without effect in threads other than the main one."""

    def __init__(self) -> None:
        self.name = ""
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Any:
        end_if_asked()
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._ask) for number in STOP_SIGNALS if is_free(number)}
            HANDLERS.append(self._ask)
            OPEN.append(self)
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._previous:
            HANDLERS.remove(self._ask)
            OPEN.remove(self)
            if self.name and OPEN:  # the work around this context ends by the same signal: further ones change nothing
                OPEN[-1].name, OPEN[-1]._since = self.name, math.inf

    def _ask(self, number: int, frame: FrameType | None) -> None:
        """The first signal is a request; another one, some seconds later, ends what is under way."""
        now = time.monotonic()
        if not self.name:
            self.name, self._since = signal.Signals(number).name, now
            self.first()
        elif now - self._since > ONE_SECONDS:
            self._since = now
            raise Stopped(self.name)

    def first(self) -> None:
        """What the first signal does."""
        raise Stopped(self.name)

    def raises_again(self) -> None:
        """Let the next signal end what is under way, however soon it comes."""
        self._since = -math.inf

    @property
    def is_swallowed(self) -> bool:
        """Whether work goes on although `Stopped` was raised here: a library may catch whatever comes as it loads."""
        return bool(self.name) and self._since < math.inf


HANDLERS: list[Callable[..., None]] = []
"""Handlers of this package that are set, the innermost last."""


OPEN: list[SignalHandlers] = []
"""The contexts that handle signals, the innermost last."""


def is_free(number: int) -> bool:
    """Whether a signal may be handled here: it is not ignored, and no other program has a use for it."""
    return number in ALWAYS or signal.getsignal(number) in (signal.SIG_DFL, *HANDLERS)


class StopRequest(SignalHandlers):
    """Context in which a signal asks a run to end after its step (`requested`).

    A step that takes longer than `STEP_SECONDS` is cut off by `Stopped`, except with `patient`: other processes may
    wait for this one. A later signal cuts it off as well.
    """

    def __init__(self, patient: bool = False) -> None:
        super().__init__()
        self.requested, self._patient = False, patient
        self._cut: threading.Timer | None = None

    @property
    def is_swallowed(self) -> bool:
        return False  # it asks, and the run looks after each step

    def first(self) -> None:
        self.requested = True
        if not self._patient:
            self._cut = threading.Timer(STEP_SECONDS, os.kill, (os.getpid(), signal.Signals[self.name]))
            self._cut.daemon = True
            self._cut.start()

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._cut is not None:
            self._cut.cancel()
        super().__exit__(kind, value, trace)
        if self.requested and kind is None and self._previous:  # it came with the last step
            raise Stopped(self.name)


def end_if_asked() -> None:
    """Raise `Stopped` again if it was swallowed; called where new work begins."""
    if OPEN and OPEN[-1].is_swallowed and threading.current_thread() is threading.main_thread():
        raise Stopped(OPEN[-1].name)


@contextmanager
def end_on_signals() -> Iterator[SignalHandlers]:
    """Context of a command: a signal raises `Stopped`, and ends the process if the block does not end in time."""
    if threading.current_thread() is not threading.main_thread():
        yield SignalHandlers()
        return
    seen, wake = socket.socketpair()
    wake.setblocking(False)
    previous, hook = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False), sys.unraisablehook
    watch = threading.Thread(target=end_late, args=(seen,), name="aam-signals", daemon=True)
    watch.start()
    timers = list[threading.Timer]()
    sys.unraisablehook = lambda dropped: send_again(dropped, timers) or hook(dropped)
    try:
        with SignalHandlers() as handlers:
            yield handlers
    finally:
        sys.unraisablehook = hook
        for timer in timers:
            timer.cancel()
        signal.set_wakeup_fd(previous)
        wake.shutdown(socket.SHUT_RDWR)  # closing is not enough: processes that were forked have it open
        watch.join()
        wake.close()
        seen.close()


def send_again(dropped: Any, timers: list[threading.Timer]) -> bool:
    """Send a signal once more, by one of `timers`, if what Python has `dropped` is its `Stopped`; whether it is.

    Python drops whatever is raised in callbacks of weak references, as imports use them, and in `__del__`.
    """
    stopped = dropped.exc_value
    if not isinstance(stopped, Stopped) or not OPEN:
        return False
    OPEN[-1].raises_again()
    timers.append(threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.Signals[stopped.name])))
    timers[-1].daemon = True
    timers[-1].start()
    return True


def end_late(seen: socket.socket) -> None:
    """End the process `LAST_SECONDS` after a signal, unless the other end of the socket is closed before.

    Python writes the number of a signal to the socket at once, even while the main thread runs other code.
    """
    with suppress(OSError):
        number = 0
        while number not in STOP_SIGNALS:
            if not (got := seen.recv(1)):
                return
            number = got[0]
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # the others may still need this process
            return
        ends = time.monotonic() + LAST_SECONDS
        while (left := ends - time.monotonic()) > 0:
            seen.settimeout(left)
            with suppress(TimeoutError):
                if not seen.recv(1):
                    return
    name = signal.Signals(number).name
    with suppress(OSError):
        text = f"Error: interrupted by {name}, and ended after {LAST_SECONDS:.0f} s without a new checkpoint\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())
    os._exit(Interrupted.exit_code)

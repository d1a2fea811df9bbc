"""A verb in a child of this process, which tells how that ended.

An engine that is refused memory, or fails on a file, ends its process: no Python runs any more
that could say a word. Linux only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from lakehouse.core.errors import TableDamaged
from lakehouse.core.processes import forked
from lakehouse.core.text import say

_HEARD = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_OF_AN_ENGINE = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP}
_MOST = 1_000_000
"""Bytes that are shown of what engines write to stderr themselves."""


def watched(place: str) -> None:
    """Return in a child; this process waits for it and ends as it does, or says what ended it.

    Where threads run it does nothing. A signal of another process is passed on, and the end of
    the terminal, of which only this process may be told; Ctrl-C the terminal gives to both.
    What engines write to stderr themselves comes at the end, or not at all where one of them
    ended the child.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    engines = os.memfd_create("stderr")
    above, ours = os.pipe()
    if (child := forked()) == 0:
        os.close(ours)
        sys.stderr = os.fdopen(os.dup(2), "w", 1, sys.stderr.encoding, "backslashreplace")
        sys.__stderr__ = sys.stderr  # type: ignore[misc]  # a screen is drawn on it
        os.dup2(engines, 2)
        threading.Thread(target=_end_with, args=(above,), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os.close(above)
    code = os.waitstatus_to_exitcode(_waited_for(child))
    if -code in _OF_AN_ENGINE:
        name = signal.Signals(-code).name
        told = TableDamaged(
            place,
            f"was ended by an engine ({name}): a file of the lake takes more memory than there is "
            "for this verb, or is not of a kind that an engine can read",
            "where the lake is yours, raise [explorer] memory_limit; else leave it alone",
        )
        say(str(told))
        os._exit(told.exit_code)
    os.write(2, os.pread(engines, _MOST, 0))
    if code < 0:  # the caller of this process gets the same code
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _waited_for(child: int) -> int:
    """The child's status once it has ended."""
    while True:
        came = signal.sigwaitinfo(_HEARD)
        if came.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        # a terminal that goes away may tell this process alone; Ctrl-C it gives to both
        elif came.si_signo == signal.SIGHUP or came.si_code <= 0:
            os.kill(child, came.si_signo)


def _end_with(above: int) -> None:
    """End when the process above has: nobody waits for an answer any more."""
    os.read(above, 1)
    os._exit(1)

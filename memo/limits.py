"""A limit on the time of code that is not ours: a rule, an embedding, a regular expression.

    with time_limit(60):
        ...                      # OutOfTime after 60 s

It rings an alarm in the main thread, which interrupts Python code and the regular expressions of the standard library,
but no other native code; what must end in any case runs in a process of its own (`subsets.running`). In another thread,
or where there are no alarms, there is no limit.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN_S = 1.0  # the alarm rings again, for code that catches everything
_SOON_S = 1e-3


class OutOfTime(BaseException):
    """The time is over. No `Exception`, because the code that is stopped may catch those."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raises `OutOfTime` in the block after so many seconds of wall-clock time; None: no limit.

    An alarm that was set before goes on afterwards.
    """
    in_reach = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if seconds is None or not in_reach:
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise OutOfTime

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), _SOON_S), every)

"""Ctrl-C as a wish to stop, so that a step is finished and saved."""

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)


class Interrupts:
    """Turns the first Ctrl-C (or SIGTERM) into a wish to stop at the next step; the second stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._process = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for kind in (signal.SIGINT, signal.SIGTERM):
                self._before[kind] = signal.signal(kind, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker process that reads images: it ends when the loop does
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        logger.warning("stopping after this step; the run will be saved")

    def __exit__(self, *error: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

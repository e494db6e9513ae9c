"""How long the parts of a step take, and how much memory a run needs."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from time import perf_counter
from typing import Any

import torch

from rlcap.models import Model


class Clocks:
    """Seconds of the parts of a step, by name.

    Args:
        device: where models run.
        names: of the parts; one that does not happen takes no time.
    """

    def __init__(self, device: torch.device, names: tuple[str, ...]) -> None:
        self.device = device
        self._seconds = dict.fromkeys(names, 0.0)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Inside it time passes for this part, as the program sees it."""
        began = perf_counter()
        yield
        self._seconds[name] += perf_counter() - began

    @contextmanager
    def measure_on_device(self, name: str) -> Iterator[None]:
        """Inside it time passes for this part, as the device sees it where that is CUDA.

        A call of CUDA returns before its work is done. Events in its queue tell when it was, and nothing waits for
        them before :meth:`seconds` is read.
        """
        if self.device.type != "cuda":
            with self.measure(name):
                yield
            return
        with torch.cuda.device(self.device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
        self._events.append((name, start, end))

    @contextmanager
    def measure_methods(self, model: Model, names: Mapping[str, str]) -> Iterator[None]:
        """Inside it time passes for a part while one of these methods of the model runs, whoever calls it.

        Args:
            model: whose methods they are; those that it does not have are left out.
            names: of the methods, and of their parts.
        """
        own = {method: vars(model).get(method) for method in names if hasattr(model, method)}
        for method in own:
            setattr(model, method, self._measured(getattr(model, method), names[method]))
        try:
            yield
        finally:
            for method, before in own.items():
                delattr(model, method)
                if before is not None:
                    setattr(model, method, before)

    def _measured(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(method)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with self.measure_on_device(name):
                return method(*args, **kwargs)

        return measured

    def seconds(self) -> dict[str, float]:
        """The seconds of all parts so far."""
        for name, start, end in self._events:
            end.synchronize()
            self._seconds[name] += start.elapsed_time(end) / 1000  # of milliseconds
        self._events.clear()
        return dict(self._seconds)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that tensors have taken on a CUDA device so far; elsewhere, that the process has had resident.

    None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kilobytes

"""Clocks of the parts of a step, and the memory of a run."""

import json
import sys
import time
from pathlib import Path

import pytest
import tiny
import torch
from tiny import trainer

from rlcap.policies.tiny import TinyViT
from rlcap.training.learner import ACTING
from rlcap.training.timing import Clocks, peak_memory

CPU = torch.device("cpu")


class Slow(TinyViT):
    """A captioner whose methods take a known time."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def encode(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


def test_methods_are_measured_while_asked_for_whoever_calls_them() -> None:
    clocks, model = Clocks(CPU, ("outer", "encode", "other")), Slow()
    model.encode(0.001)
    with clocks.measure("outer"), clocks.measure_methods(model, {"encode": "encode", "sing": "other"}):
        assert model.encode(0.01) == 0.01
        model.encode(seconds=0.02)
    model.encode(0.001)
    seconds = clocks.seconds()
    assert 0.03 <= seconds["encode"] <= seconds["outer"]
    assert seconds["other"] == 0.0
    assert clocks.seconds() == seconds
    assert "encode" not in vars(model)


def test_methods_are_themselves_again_after_an_error() -> None:
    clocks, model = Clocks(CPU, ("encode",)), Slow()
    own = lambda seconds: -seconds  # noqa: E731 - as a wrapper such as FSDP's puts one there
    model.encode = own  # type: ignore[method-assign]
    with pytest.raises(TypeError), clocks.measure_methods(model, {"encode": "encode"}):
        model.encode("no number")  # type: ignore[arg-type]
    assert model.encode is own


def test_time_is_of_the_step_that_it_passes_in_when_captions_are_drawn_ahead(tmp_path: Path) -> None:
    options = {"steps": 4, "evaluate_every": 0, "overlap_rewards": True}
    trainer(tmp_path, tiny.experiment(tiny.SELF_CRITICAL, **options)).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "timings.jsonl").read_text().splitlines()]
    for name in set(ACTING.values()):
        seconds = [row[name] for row in rows if "time/step" in row]
        assert min(seconds[:3]) > 0  # the first draws for itself and the next, then each for the next
        assert seconds[3] == 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_what_linux_says() -> None:
    torch.ones(30_000_000).sum()  # 120 MB
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    peak = peak_memory(CPU)
    assert peak is not None
    assert peak > 120e6
    assert peak == pytest.approx(int(line.split()[1]) * 1024, rel=0.01)  # the kernel counts pages in batches


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_tells_how_long_its_work_took() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    matrix = torch.randn(4096, 4096, device=device)

    def work() -> None:
        for _ in range(50):
            matrix @ matrix

    work()
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    expected = time.perf_counter() - began
    clocks = Clocks(device, ("launch", "work"))
    with clocks.measure("launch"), clocks.measure_on_device("work"):
        work()
    seconds = clocks.seconds()
    assert seconds["work"] == pytest.approx(expected, rel=0.3)
    assert seconds["launch"] < 0.5 * expected  # nothing waited for it
    assert peak_memory(device) >= matrix.nbytes

"""Checkpoints are complete or absent."""

import json

import pytest
import torch

from rlcap.algorithms.self_critical import SelfCritical
from rlcap.errors import UserError
from rlcap.policies.backbone_decoder import DecoderSettings
from rlcap.policies.base import load_policy, policy_folder
from rlcap.policies.tiny import TinyViT
from rlcap.training.checkpoint import Checkpoints, Progress, read_optimizer, read_progress


@pytest.fixture
def algorithm():
    policy = TinyViT(encoder_width=16, encoder_layers=1, heads=2, decoder=DecoderSettings(16, 1, 2, 0.0, 1))
    policy.prepare([["a red square", "a blue circle"]])
    return SelfCritical(policy)


def test_latest_and_best_are_kept(tmp_path, algorithm):
    checkpoints = Checkpoints(tmp_path, keep=2)
    state = torch.optim.SGD(algorithm.parameters(), lr=0.1).state_dict()
    for step, best_step in ((1, 1), (2, 1), (3, 1), (4, 1)):
        checkpoints.save(Progress(step, best=1.0, best_step=best_step), algorithm, state)
    assert checkpoints.steps() == [1, 3, 4]
    assert policy_folder(tmp_path.parent / tmp_path.name / "4") == tmp_path / "4" / "policy"
    assert read_progress(tmp_path / "4") == Progress(4, best=1.0, best_step=1)
    assert read_optimizer(tmp_path / "4").keys() == state.keys()


def test_a_failed_write_leaves_no_checkpoint(tmp_path, algorithm, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    state = torch.optim.SGD(algorithm.parameters(), lr=0.1).state_dict()
    checkpoints.save(Progress(1), algorithm, state)
    monkeypatch.setattr(torch, "save", lambda *arguments: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space"):
        checkpoints.save(Progress(2), algorithm, state)
    assert checkpoints.steps() == [1]
    assert checkpoints.latest() == tmp_path / "1"


def test_pickled_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"state": Evil()}, tmp_path / "optimizer.pt")
    with pytest.raises(Exception, match=r"[Ww]eights only"):
        read_optimizer(tmp_path)


def test_no_policy_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no saved policy"):
        load_policy(str(tmp_path))
    with pytest.raises(UserError, match="does not exist"):
        load_policy(str(tmp_path / "nowhere"))


def test_what_a_killed_run_left_undone_is_mended(tmp_path, algorithm):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(Progress(step, best=1.0, best_step=1), algorithm, {})
    (tmp_path / ".writing-3").mkdir()
    (tmp_path / ".removing-0").mkdir()
    best_two = Progress(2, best=2.0, best_step=2)  # killed after the rename, before best.json
    checkpoints.tidy(best_two)
    assert policy_folder(tmp_path.parent / tmp_path.name / "2") == tmp_path / "2" / "policy"
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 2, "value": 2.0}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "best.json"]

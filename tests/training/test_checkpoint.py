"""Checkpoints are complete or absent."""

import json

import pytest
import torch
from accelerate import Accelerator

from rlcap.algorithms.critics import SeparateCritic
from rlcap.algorithms.ppo import PPO
from rlcap.algorithms.self_critical import SelfCritical
from rlcap.errors import UserError
from rlcap.policies.backbone_decoder import DecoderSettings
from rlcap.policies.base import load_policy, policy_folder
from rlcap.policies.reference import Reference
from rlcap.policies.tiny import TinyViT
from rlcap.training.checkpoint import Checkpoints, Progress, read_optimizer, read_progress, read_weights
from rlcap.training.sharding import Replicated, blank_of, filled


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


@pytest.fixture
def with_critic():
    """An algorithm with weights of its own, some of which are one: a decoder's embeddings and its output layer."""

    def make(seed):
        torch.manual_seed(seed)
        policy = TinyViT(encoder_width=16, encoder_layers=1, heads=2, decoder=DecoderSettings(16, 1, 2, 0.0, 1))
        policy.prepare([["a red square", "a blue circle"]])
        return PPO(policy, SeparateCritic)

    return make


def assert_same(one, other):
    torch.testing.assert_close(dict(one.state_dict()), dict(other.state_dict()), rtol=0, atol=0)


def assert_tied(algorithm):
    for policy in (algorithm.policy, algorithm.critic.network):
        assert policy.decoder.lm_head.weight is policy.decoder.transformer.wte.weight


def test_a_critic_with_tied_weights_is_given_back_exactly(tmp_path, with_critic):
    saved, other = with_critic(0), with_critic(1)
    saved.kl_scale.fill_(0.7)
    Checkpoints(tmp_path).save(Progress(1), saved, {})
    weights = read_weights(tmp_path / "1", other)
    twins = [name for name in weights if name.startswith("critic") and name.endswith(("lm_head.weight", "wte.weight"))]
    assert twins == ["critic.network.decoder.transformer.wte.weight"]  # once on disk
    Replicated(Accelerator(cpu=True)).load(other, weights)
    assert_same(other, saved)
    assert_tied(other)


def test_weights_of_another_algorithm_are_refused(tmp_path, algorithm, with_critic):
    Checkpoints(tmp_path).save(Progress(1), algorithm, {})
    with pytest.raises(UserError, match="another algorithm"):
        read_weights(tmp_path / "1", with_critic(0))


def test_a_blank_copy_takes_no_memory_and_is_filled_exactly(with_critic):
    algorithm = with_critic(0)
    algorithm.reference = Reference(algorithm.policy)
    algorithm.kl_scale.fill_(0.7)
    blank = blank_of(algorithm)
    assert all(parameter.is_meta for parameter in blank.parameters())
    assert blank.reference is None
    copied = filled(blank, algorithm.state_dict())
    assert_same(copied, algorithm)
    assert_tied(copied)
    assert [p.requires_grad for p in copied.parameters()] == [p.requires_grad for p in algorithm.parameters()]


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

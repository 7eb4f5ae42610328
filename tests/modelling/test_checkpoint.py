"""Checkpoints: whole or not there, the same training or none, exact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pneumonia.errors import DataError
from pneumonia.modelling import checkpoint
from pneumonia.modelling.checkpoint import TrainingState

GROUPS = {
    "model": {"conv.weight": torch.rand(4, 3, 3, 3), "bn.count": torch.tensor(7)},
    "ema": {},
    "optimizer": {"0.exp_avg": torch.rand(4, 3, 3, 3), "0.step": torch.tensor(3.0)},
}
PROGRESS = TrainingState(
    epoch=2, step=5, loss=0.1 + 0.2, correct=17, seen=80, history=[{"epoch": 1}], best_epoch=1, best_loss=1 / 3
)


def save(path: Path, progress: TrainingState = PROGRESS, key: str = "key") -> None:
    checkpoint.save_checkpoint(path, key, progress, GROUPS, '{"profile": "fast"}')


def test_what_is_saved_comes_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "checkpoint.safetensors"
    save(path)
    found = checkpoint.load_checkpoint(path, "key")
    assert found is not None
    progress, groups = found
    assert progress == PROGRESS
    for group, named in GROUPS.items():
        assert set(groups.get(group, {})) == set(named)
        for name, tensor in named.items():
            assert groups[group][name].dtype == tensor.dtype
            assert torch.equal(groups[group][name], tensor)


def test_a_start_without_epochs_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path, TrainingState())
    found = checkpoint.load_checkpoint(path, "key")
    assert found is not None
    assert found[0] == TrainingState()
    assert found[0].best_loss == float("inf")


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert checkpoint.load_checkpoint(tmp_path / "checkpoint.safetensors", "key") is None


def test_the_file_is_safetensors_with_its_config(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path)
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {"model/conv.weight", "model/bn.count", "optimizer/0.exp_avg", "optimizer/0.step"}
        assert json.loads(file.metadata()["config"]) == {"profile": "fast"}
    content = path.read_bytes()
    head = int.from_bytes(content[:8], "little")
    json.loads(content[8 : 8 + head])  # a head of JSON, then numbers: no pickle anywhere
    assert len(content) == 8 + head + sum(t.nbytes for named in GROUPS.values() for t in named.values())


def test_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path, key="another training's key")
    with pytest.raises(DataError, match=r"belongs to another training \(another trai\); remove it"):
        checkpoint.load_checkpoint(path, "key")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("no checkpoint " * 20)


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def _foreign(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path)


def _half_the_progress(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {**metadata, "progress": metadata["progress"][:20]})


@pytest.mark.parametrize("damage", [_truncate, _empty, _text, _flip_a_bit, _foreign, _half_the_progress])
def test_damage_is_told_with_what_to_do(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path)
    damage(path)
    with pytest.raises(DataError, match=r"checkpoint.safetensors: the checkpoint is damaged .*; remove it to start"):
        checkpoint.load_checkpoint(path, "key")


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path)
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    with pytest.raises(DataError, match="has format 2, not 3; remove it"):
        checkpoint.load_checkpoint(path, "key")


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        checkpoint.load_checkpoint(tmp_path / "checkpoint.safetensors", "key")


def test_a_failing_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save(path)
    before = path.read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        with pytest.raises(DataError, match=r"checkpoint.safetensors: cannot be written \(No space left on device\)"):
            save(path, TrainingState(epoch=9))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


WRITER = """
import sys, torch
from pathlib import Path
from pneumonia.modelling import checkpoint
tensors = {"model": {"a": torch.zeros(4_000_000)}}
for epoch in range(10**6):
    tensors["model"]["a"].fill_(epoch)
    checkpoint.save_checkpoint(Path(sys.argv[1]), "key", checkpoint.TrainingState(epoch=epoch), tensors, "{}")
    print(epoch, flush=True)
"""


@pytest.mark.integration
def test_a_killed_writer_leaves_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        began = time.monotonic()
        for _ in range(5):
            writer.stdout.readline()
        writes = (time.monotonic() - began) / 5
        for _ in range(5):  # stopped at moments spread over a write, the file is whole each time
            time.sleep(1.3 * writes)
            writer.send_signal(signal.SIGSTOP)
            found = checkpoint.load_checkpoint(path, "key")
            assert found is not None
            assert bool((found[1]["model"]["a"] == found[0].epoch).all())
            writer.send_signal(signal.SIGCONT)
        writer.kill()
    assert checkpoint.load_checkpoint(path, "key") is not None
    save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "what the killed writer left is swept away"


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_an_optimiser_goes_on_as_if_nothing_had_been(kind: type[torch.optim.Adam]) -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
        return network, kind(network.parameters(), lr=0.01, fused=True)

    def step(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        source = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=source))
        optimizer.step()

    network, optimizer = make()
    for seed in range(3):
        step(network, optimizer, seed)
    # as the disk gives them back: contiguous, whatever the parameters' layout
    kept = {name: value.clone(memory_format=torch.contiguous_format) for name, value in _flat(optimizer).items()}
    weights = {name: value.clone(memory_format=torch.contiguous_format) for name, value in network.state_dict().items()}
    resumed, other = make()
    resumed.load_state_dict(weights)
    checkpoint.restore_optimizer(other, kept)
    for seed in range(3, 6):
        step(network, optimizer, seed)
        step(resumed, other, seed)
    for name, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    flat = checkpoint.optimizer_tensors(optimizer)
    assert {"0.exp_avg", "0.exp_avg_sq", "0.step"} <= set(flat)
    return flat

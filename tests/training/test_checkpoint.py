"""Checkpoints survive whatever kills the process, give the same model back, and refuse what they are not."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import mmap
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from generated_samples import community, tiny_model
from processes import Copy

from aam import checkpoint as checkpoints
from aam import folders, stored
from aam.checkpoint import Checkpoint, config_of_encoder, find_checkpoint, load_checkpoint, open_model, save_checkpoint
from aam.config import PretrainConfig
from aam.errors import CheckpointError
from aam.models.pretrain_model import PretrainModel
from aam.training.objective import model_inputs


def filled(number: float) -> Checkpoint:
    """A checkpoint that holds one number everywhere."""
    tensors = {"a": torch.full((300, 50), number), "b": torch.full((7,), number)}
    return Checkpoint(PretrainConfig(model=tiny_model()), tensors, {"c": torch.full((20,), number)}, {"n": number})


def assert_holds(folder: Path, *numbers: float) -> None:
    """A complete checkpoint of one of the numbers, not a mixture."""
    found = load_checkpoint(folder)
    assert found.state["n"] in numbers
    for tensor in [*found.model.values(), *found.training.values()]:
        assert (tensor == found.state["n"]).all()


def model() -> PretrainModel:
    torch.manual_seed(0)
    return PretrainModel(tiny_model()).eval()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with one checkpoint, `best/`, of a real model."""
    config = PretrainConfig(model=tiny_model())
    save_checkpoint(tmp_path / "run" / "best", Checkpoint(config, model().state_dict(), {}, {}))
    return tmp_path / "run"


def test_everything_comes_back(tmp_path: Path):
    save_checkpoint(tmp_path / "last", filled(1.5))
    found = load_checkpoint(tmp_path / "last")
    assert found.config == filled(1.5).config and found.state == {"n": 1.5}
    assert_holds(tmp_path / "last", 1.5)
    save_checkpoint(tmp_path / "last", filled(2.5))
    assert_holds(tmp_path / "last", 2.5)
    assert_holds(tmp_path / "previous", 1.5)
    save_checkpoint(tmp_path / "last", filled(3.5))
    assert_holds(tmp_path / "previous", 2.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "previous"]


def test_files_have_the_permissions_of_the_umask(run: Path):
    """Shared folders of a group are read by the others of it."""
    before = os.umask(0o027)
    try:
        save_checkpoint(run.parent / "shared", load_checkpoint(run / "best"))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (run.parent / "shared").iterdir()}
    assert set(modes.values()) == {0o640} and len(modes) >= 4


def test_a_model_opens_from_its_path_alone_and_answers_the_same(run: Path, monkeypatch: pytest.MonkeyPatch):
    inputs = model_inputs(community(samples=4, asvs=20, richness=6).batch(range(4)))
    with torch.no_grad():
        wanted = vars(model()(inputs))
    monkeypatch.chdir(run)
    for path in (run, run / "best", str(run), Path(), "best"):
        opened, config = open_model(path)
        assert not opened.training and config.model == tiny_model()
        with torch.no_grad():
            for name, tensor in vars(opened(inputs)).items():
                if not name.startswith("reference_"):  # None without a reference
                    assert torch.equal(tensor, wanted[name]), (path, name)


def test_best_goes_before_last(tmp_path: Path):
    for name, number in (("last", 1.0), ("best", 2.0)):
        save_checkpoint(tmp_path / name, filled(number))
    assert find_checkpoint(tmp_path) == tmp_path / "best"
    assert find_checkpoint(tmp_path / "last") == tmp_path / "last"


@pytest.mark.parametrize("crash", range(1, 16))
def test_a_crash_at_any_step_of_saving_leaves_a_checkpoint(tmp_path: Path, crash: int, monkeypatch: pytest.MonkeyPatch):
    """Also where the crash before has left its own debris."""
    save_checkpoint(tmp_path / "last", filled(1.0))
    for number in (2.0, 3.0):
        calls = iter(range(1, 100))

        def dying(function: Any, calls: Any = calls) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                if next(calls) == crash:
                    raise KeyboardInterrupt
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for owner, name in (
                (Path, "rename"), (Path, "replace"), (folders.shutil, "rmtree"), (checkpoints, "save_file")
            ):  # fmt: skip
                patch.setattr(owner, name, dying(getattr(owner, name)))
            with contextlib.suppress(KeyboardInterrupt):
                save_checkpoint(tmp_path / "last", filled(number))
        assert_holds(find_checkpoint(tmp_path), 1.0, 2.0, 3.0)
    save_checkpoint(tmp_path / "last", filled(4.0))
    assert_holds(tmp_path / "last", 4.0)


def test_a_save_that_fails_leaves_no_half_of_a_checkpoint(tmp_path: Path):
    save_checkpoint(tmp_path / "last", filled(1.0))
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(tmp_path / "last", dataclasses.replace(filled(2.0), state={"step": object()}))
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert_holds(tmp_path / "last", 1.0)


@pytest.mark.parametrize("kills", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_a_save_that_is_killed_loses_no_save_before_it(tmp_path: Path, kills: int):
    """A process saves as fast as it can and is killed in one of its saves; the next one goes on from what is found."""
    chance, saved = random.Random(0), mmap.mmap(-1, 8)
    found = 0
    save_checkpoint(tmp_path / "last", filled(0.0))
    for _ in range(kills):
        saved[:] = struct.pack("q", found)
        child = Copy(partial(save_for_ever, tmp_path / "last", found, saved))
        begun = time.monotonic()
        while saved[:] == struct.pack("q", found) and child.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 2.0) * (time.monotonic() - begun))  # within the second save or the third
        child.kill()
        assert child.returncode == -signal.SIGKILL
        (done,) = struct.unpack("q", saved[:])
        found = int(load_checkpoint(find_checkpoint(tmp_path)).state["n"])
        assert found in (done, done + 1)
        assert_holds(find_checkpoint(tmp_path), found)
    assert found >= kills


def save_for_ever(folder: Path, number: int, saved: mmap.mmap) -> None:
    """Save the numbers after this one; `saved` has the last that is complete."""
    while True:
        number += 1
        save_checkpoint(folder, filled(number))
        saved[:] = struct.pack("q", number)


READING = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_checkpoint import assert_holds, filled, find_checkpoint, save_checkpoint
run = Path({folder!r})
for name in ("best", "last"):
    save_checkpoint(run / name, filled(0.0))
child = os.fork()
if not child:
    for number in range(100_000):
        for name in ("best", "last"):
            save_checkpoint(run / name, filled(float(number)))
        time.sleep(0.01)  # as long as a disk takes at the least, also where files lie in memory
    os._exit(0)
try:
    for _ in range({times}):
        for folder in (run / "best", run / "last"):
            assert_holds(folder, *range(100_000))
        assert find_checkpoint(run).name == "best"
finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print("survived")
"""


@pytest.mark.parametrize("times", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_reader_beside_a_writer_finds_one_whole_checkpoint(tmp_path: Path, times: int):
    """The run replaces its checkpoints all the time; none is told to have changed since it was written."""
    code = READING.format(tests=str(Path(__file__).parent), folder=str(tmp_path), times=times)
    path = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {path!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "survived\n", done.stderr


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"absent: no checkpoint here, expected a run directory with best/ or"):
        open_model(tmp_path / "absent")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"not a readable checkpoint \(.*; give a run directory or its best/"):
        open_model(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "config.json", "state.json"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_truncated_files_are_refused(run: Path, name: str, kept: int):
    file = run / "best" / name
    content = file.read_bytes()
    file.write_bytes(content.rstrip()[: int(kept * len(content.rstrip()))])
    with pytest.raises(CheckpointError, match=r"best: not a readable checkpoint \("):
        load_checkpoint(run / "best")


@pytest.mark.parametrize("name", ["config.json", "state.json"])
def test_one_changed_bit_of_a_record_is_found_by_its_name(run: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    """Wherever it is: what still reads as another value is told by the seal."""
    monkeypatch.setattr(stored, "RETRY_SECONDS", 0.0)  # no run is saving here, which a reader would wait for
    file = run / "best" / name
    content = file.read_bytes()
    whole = load_checkpoint(run / "best")
    for place in range(0, len(content), max(1, len(content) // 150)):
        for bit in (0, 5):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with contextlib.suppress(CheckpointError):
                again = load_checkpoint(run / "best")
                assert name == "config.json" and again.config == whole.config and again.state == whole.state
    file.write_bytes(content.replace(b"1", b"0", 1))
    with pytest.raises(CheckpointError, match=rf"{name}.* has changed since it was written"):
        load_checkpoint(run / "best")


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "state.json"])
def test_one_changed_byte_is_found(tmp_path: Path, name: str):
    save_checkpoint(tmp_path / "best", filled(1.0))
    file = tmp_path / "best" / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + (b" " if name == "state.json" else bytes([content[-1] ^ 1])))
    with pytest.raises(CheckpointError, match=rf"{name}: SHA-256 is \w{{12}}…, expected \w{{12}}…: it has changed"):
        load_checkpoint(tmp_path / "best")


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, name: str, value: float):
    broken = filled(1.0)
    {"model.safetensors": broken.model["b"], "training.safetensors": broken.training["c"]}[name][3] = value
    save_checkpoint(tmp_path / "best", broken)
    with pytest.raises(CheckpointError, match=rf"{name}: [bc] holds NaN or Inf; use an earlier checkpoint"):
        load_checkpoint(tmp_path / "best")


@pytest.mark.parametrize("name", ["training.safetensors", "state.json"])
def test_a_model_is_used_without_what_only_going_on_needs(run: Path, name: str):
    """Optimiser and random state are as large as the model twice over."""
    (run / "best" / name).unlink()
    opened, _ = open_model(run)
    assert all(torch.equal(found, model().state_dict()[key]) for key, found in opened.state_dict().items())
    with pytest.raises(CheckpointError, match=rf"best: not a readable checkpoint \(.*{name}"):
        load_checkpoint(run / "best")


def test_the_configuration_is_told_without_weights(run: Path):
    (run / "best" / "model.safetensors").unlink()
    assert config_of_encoder(run).model == tiny_model()


def test_a_changed_byte_of_the_weights_is_found_before_the_model_is_used(run: Path):
    file = run / "best" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"model.safetensors: SHA-256 is"):
        open_model(run)


def test_a_later_format_is_refused(run: Path):
    change(run, format=999)
    with pytest.raises(CheckpointError, match="config.json: format 999, expected 1: written by another version"):
        open_model(run)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"model": {"dimm": 3}}, "config.json: unknown key 'dimm'; did you mean 'dim'"),
        ({"model": {"dim": "wide"}}, "config.json: --dim is 'wide', expected a whole number"),
        ({"model": 3}, "config.json: found 3, expected a mapping"),
    ],
)
def test_a_config_that_is_none_is_refused_by_its_file(run: Path, content: dict[str, Any], text: str):
    change(run, **content)
    with pytest.raises(CheckpointError, match=text):
        open_model(run)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"'])
def test_json_that_is_no_object_is_refused(run: Path, text: str):
    (run / "best" / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"not a readable checkpoint \(config.json is not one of aam\); give"):
        open_model(run)


def test_weights_of_another_model_are_refused(run: Path):
    change(run, model={"dim": 64})
    with pytest.raises(CheckpointError, match="weights and configuration disagree: size mismatch for asv") as caught:
        open_model(run)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def change(run: Path, **content: Any) -> None:
    """Change the stored configuration as a version of before seals wrote it."""
    file = run / "best" / "config.json"
    stored = json.loads(file.read_text())
    del stored["seal"]
    for key, value in content.items():
        stored[key] = stored[key] | value if isinstance(value, dict) else value
    file.write_text(json.dumps(stored))


def test_nothing_is_unpickled(run: Path):
    """A pickle in the place of the weights is not read as one."""
    torch.save({"a": torch.ones(2)}, run / "best" / "model.safetensors")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        open_model(run)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "state.json"])
@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_a_pipe_or_a_device_in_place_of_a_file_is_refused_and_not_read_for_ever(
    file: str, target: str, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "best", filled(1.0))
    (tmp_path / "best" / file).unlink()
    if target == "pipe":
        os.mkfifo(tmp_path / "best" / file)
    else:
        (tmp_path / "best" / file).symlink_to(target)
    with pytest.raises(CheckpointError, match=f"{file}.*regular file"):
        load_checkpoint(tmp_path / "best")

"""Models are fetched from a hub, and uploaded, by the real library; the hub is one on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from local_hub import LocalHub, serve_hub
from trained_run import save_run

import aam
from aam.checkpoint import open_model
from aam.errors import AamError, CheckpointError, ConfigError
from aam.report.model_card import CardFacts
from aam.stored import MODEL
from aam.workflows.save_pretrained import save_pretrained

pytest.importorskip("huggingface_hub", reason="NOT TESTED: the hub; pip install 'aam[hub]'")

from aam.workflows.hub import Hub, download_model, parse_hub_id, push_to_hub  # noqa: E402

NOBODY = "http://127.0.0.1:9"
"""The port of the discard service, on which no machine of today listens."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with serve_hub() as found:
        yield found


@pytest.fixture
def hub(server: LocalHub, tmp_path: Path) -> Hub:
    return Hub(server.address, tmp_path / "cache", offline=False)


@pytest.fixture
def saved(run: Path, tmp_path: Path) -> Path:
    return save_pretrained(run, tmp_path / "saved", CardFacts(licence="MIT"))


def refusal(hub_id: str, hub: Hub, kind: type[AamError] = CheckpointError) -> str:
    """The one line that says why a model cannot be fetched."""
    with pytest.raises(kind) as caught:
        download_model(hub_id, hub=hub)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_uploaded_comes_back(run: Path, hub: Hub, server: LocalHub) -> None:
    address = push_to_hub(run, "lab/gut", CardFacts(licence="MIT"), hub=hub)
    assert address == f"{server.address}/lab/gut"
    folder = download_model("lab/gut", hub=hub)
    before, after = open_model(run).model.state_dict(), open_model(folder).model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    page = (folder / "README.md").read_text()  # what a hub shows
    assert page.startswith("---\nlibrary_name: aam\nlicense: mit\n") and "aam embed --model lab/gut " in page
    assert json.loads((folder / "card.json").read_text())["licence"] == "MIT"


def test_an_upload_replaces_the_model_and_leaves_other_files(
    run: Path, tmp_path: Path, hub: Hub, server: LocalHub
) -> None:
    several = tmp_path / "several"
    for fold in ("fold-1", "fold-2"):
        save_run(several / fold)
    server.commit("lab/gut", {"figure.png": b"drawn by hand"})
    push_to_hub(several, "lab/gut", hub=hub)
    assert len(list(download_model("lab/gut", hub=hub).glob("fold-*/config.json"))) == 2
    push_to_hub(run, "lab/gut", hub=hub)
    files = list(server.models["lab/gut"].values())[-1]
    assert sorted(files) == ["README.md", "card.json", "config.json", "figure.png", MODEL]
    assert open_model(download_model("lab/gut", hub=hub))


def test_nothing_is_fetched_twice(saved: Path, hub: Hub, server: LocalHub) -> None:
    server.upload("lab/gut", saved)
    first = download_model("lab/gut", hub=hub)
    fetched = [request for request in server.requests if "/resolve/" in request]
    assert len([request for request in fetched if request.startswith("GET")]) == len(list(saved.iterdir()))
    assert download_model("lab/gut", hub=hub) == first
    assert [request for request in server.requests if "/resolve/" in request] == fetched


def test_a_revision_is_an_older_state(saved: Path, tmp_path: Path, hub: Hub, server: LocalHub) -> None:
    old = server.upload("lab/gut", saved)
    server.upload("lab/gut", save_pretrained(save_run(tmp_path / "new", dim=16), tmp_path / "new-saved"))
    assert open_model(download_model("lab/gut", hub=hub)).config.model.dim == 16
    assert open_model(download_model(f"lab/gut@{old}", hub=hub)).config.model.dim == 32


def test_files_that_could_hold_code_are_not_fetched(saved: Path, hub: Hub, server: LocalHub) -> None:
    for name in ("weights.pkl", "model.bin", "setup.py", "other.npy", "reference.npy"):
        (saved / name).write_bytes(b"x")
    (saved / "known_asvs.npy").write_bytes(b"x")
    server.upload("lab/gut", saved)
    names = {path.name for path in download_model("lab/gut", hub=hub).iterdir()}
    assert names == {"card.json", "card.md", "config.json", "known_asvs.npy", MODEL}


def test_the_weights_of_something_else_are_not_fetched(hub: Hub, server: LocalHub) -> None:
    server.commit("lab/language", {"config.json": b'{"model_type": "bert"}', MODEL: b"x" * 1000})
    server.commit("lab/nothing", {"README.md": b"to be done"})
    assert refusal("lab/language", hub) == (
        f"lab/language on {server.address} is no model of aam (config.json is not one of aam); "
        "give one that was saved by aam"
    )
    assert "is no model of aam (it has no config.json)" in refusal("lab/nothing", hub)
    assert not [request for request in server.requests if request.endswith(MODEL)]


@pytest.mark.parametrize("name", [MODEL, "scales.json"])
def test_changed_files_are_refused(name: str, tmp_path: Path, hub: Hub, server: LocalHub) -> None:
    run = save_run(tmp_path / "run")
    (run / "best" / "scales.json").write_text("{}")
    saved = save_pretrained(run, tmp_path / "saved")
    with (saved / name).open("ab") as handle:
        handle.write(b" ")
    server.upload("lab/gut", saved)
    assert f"{name}: SHA-256 is " in refusal("lab/gut", hub)


def test_a_name_that_the_hub_does_not_have(saved: Path, hub: Hub, server: LocalHub) -> None:
    assert refusal("lab/gut", hub) == (
        f"lab/gut: neither a folder here nor a model on {server.address} (or a private one); check the name, or log "
        "in with `hf auth login`"
    )
    server.upload("lab/gut", saved)
    assert refusal("lab/gut@v2", hub) == (
        f"lab/gut@v2: {server.address} has no revision 'v2' of it; leave it out, or see {server.address}/lab/gut"
    )


@pytest.mark.parametrize(
    "text", ["gut", "lab/", "a/b/c", "lab/gut@", "lab/gut@a b", "../gut", "-lab/gut", "lab/gut--x"]
)
def test_a_text_that_is_no_id(text: str, hub: Hub) -> None:
    assert "expected OWNER/NAME or OWNER/NAME@REVISION" in refusal(text, hub, ConfigError)


def test_name_and_revision_of_an_id() -> None:
    assert parse_hub_id("lab/gut") == ("lab/gut", None)
    assert parse_hub_id("lab/gut.v4@v1.0") == ("lab/gut.v4", "v1.0")


def test_without_network_the_copy_that_was_fetched_is_used_and_said(
    saved: Path, hub: Hub, server: LocalHub, notes
) -> None:
    commit = server.upload("lab/gut", saved)
    folder = download_model("lab/gut", notes, hub)
    assert notes.said == []
    away, offline = Hub(NOBODY, hub.cache, offline=False), Hub(NOBODY, hub.cache, offline=True)
    assert download_model("lab/gut", notes, away) == download_model("lab/gut", notes, offline) == folder
    assert notes.said[0].startswith(f"lab/gut: {NOBODY} cannot be reached (")
    assert notes.said[0].endswith(f"); opened the copy that was fetched before, commit {commit[:12]}")
    assert notes.said[1].startswith("lab/gut: HF_HUB_OFFLINE is set; opened the copy")
    server.status = 503
    assert download_model("lab/gut", notes, hub) == folder and "answers with error 503; opened" in notes.said[2]


def test_without_network_and_without_a_copy(hub: Hub) -> None:
    ending = f", and {hub.cache} has no whole copy of it; connect once, or give the folder of a model"
    away = refusal("lab/gut", Hub(NOBODY, hub.cache, offline=False))
    assert away.startswith(f"lab/gut: {NOBODY} cannot be reached (") and away.endswith(ending)
    assert refusal("lab/gut", Hub(NOBODY, hub.cache, offline=True)) == f"lab/gut: HF_HUB_OFFLINE is set{ending}"


def test_half_a_copy_is_none(saved: Path, hub: Hub, server: LocalHub) -> None:
    server.upload("lab/gut", saved)
    (download_model("lab/gut", hub=hub) / MODEL).unlink()
    assert "no whole copy of it" in refusal("lab/gut", Hub(NOBODY, hub.cache, offline=True))


def test_an_upload_that_is_not_possible(run: Path, hub: Hub, server: LocalHub) -> None:
    def reason(hub_id: str, hub: Hub) -> str:
        with pytest.raises((ConfigError, CheckpointError)) as caught:
            push_to_hub(run, hub_id, hub=hub)
        return str(caught.value)

    assert reason("lab/gut@v1", hub) == "lab/gut@v1: an upload makes a revision of its own; give lab/gut"
    assert "HF_HUB_OFFLINE is set; unset it" in reason("lab/gut", Hub(NOBODY, hub.cache, offline=True))
    assert "cannot be reached" in reason("lab/gut", Hub(NOBODY, hub.cache, offline=False))
    server.status = 403
    assert f"lab/gut: {server.address} refuses it (403); log in with `hf auth login`" in reason("lab/gut", hub)
    server.status = 500
    assert reason("lab/gut", hub).endswith("answers with error 500; try again later, or save the model in a folder")


@pytest.mark.slow
def test_a_command_without_network_uses_the_copy(saved: Path, tmp_path: Path, hub: Hub, server: LocalHub) -> None:
    """By the environment alone, as on a node of a cluster."""
    server.upload("lab/gut", saved)
    download_model("lab/gut", hub=hub)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub.cache), "HF_ENDPOINT": NOBODY}
    words = [sys.executable, "-m", "aam", "embed", "--example", "--model", "lab/gut", "-o", "out.tsv"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "HF_HUB_OFFLINE is set; opened the copy" in " ".join(done.stderr.split())
    assert len((tmp_path / "out.tsv").read_text().splitlines()) == 191


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules, "aam.workflows.hub")
    with pytest.raises(ConfigError) as caught:
        aam.from_pretrained("lab/gut")
    assert str(caught.value) == (
        "models of a hub need huggingface_hub, which is not installed; pip install 'aam[hub]', or give the folder of a "
        "model"
    )


def test_a_run_shares_itself(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    (tmp_path / "run" / "best").symlink_to(run / "best")
    assert open_model(aam.Run.open(tmp_path / "run").save_pretrained(tmp_path / "saved"))

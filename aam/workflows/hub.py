"""Models on a hub: fetched into the cache of huggingface_hub, and uploaded. The hub is huggingface.co or HF_ENDPOINT.

A model is fetched once. Where the hub cannot be reached, or HF_HUB_OFFLINE is set, the copy of the cache is used.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import aam
from aam.checkpoint import FOLD, fold_folders, read_about
from aam.errors import CheckpointError, ConfigError
from aam.observer import Observer
from aam.report.model_card import NO_FACTS, PAGE, CardFacts
from aam.stored import CONFIG, read_stored
from aam.text import one_line, quote, shorten
from aam.workflows.save_pretrained import KNOWN, OWN_FILES, SUFFIXES, save_pretrained

try:
    from huggingface_hub import HfApi, constants, errors
    from huggingface_hub.utils import validate_repo_id
except ImportError as absent:
    raise ConfigError(
        "models of a hub need huggingface_hub, which is not installed; pip install 'aam[hub]', or give the folder of a "
        "model"
    ) from absent

PATTERNS = [*(f"*{suffix}" for suffix in SUFFIXES), f"*{KNOWN}"]
"""Files that are fetched and uploaded: none of them can hold code (`KNOWN` is read without pickle)."""
HUB_PAGE = "README.md"
"""What a hub shows as the card of a model."""
SECONDS = 10
"""Longest time to wait for the first answer of the hub."""
REVISION = re.compile(r"[\w./-]+", re.ASCII)
REASON = 120
"""Characters of the text of an error of the network that a message shows."""


class HubId(NamedTuple):
    """`owner/name` of a model, and its revision: a branch, a tag or a commit (None: the newest)."""

    name: str
    revision: str | None

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class Hub:
    """Where models are shared: the address of the hub, the cache of what was fetched, and whether to stay offline.

    What is not given is what the environment says (HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE), else huggingface.co.
    """

    address: str = constants.ENDPOINT
    cache: Path = Path(constants.HF_HUB_CACHE)
    offline: bool = constants.HF_HUB_OFFLINE

    def library(self) -> HfApi:
        """The library, told where the hub is and who calls."""
        return HfApi(endpoint=self.address, library_name="aam", library_version=aam.__version__)


USUAL = Hub()


def parse_hub_id(text: str) -> HubId:
    """Name and revision of `owner/name` or `owner/name@revision`; raises ConfigError for anything else."""
    name, at, revision = text.partition("@")
    refusal = f"{quote(text)} is no id of a model on a hub, expected OWNER/NAME or OWNER/NAME@REVISION"
    try:
        validate_repo_id(name)
    except errors.HFValidationError as error:
        raise ConfigError(refusal) from error
    if "/" not in name or (at and not REVISION.fullmatch(revision)):
        raise ConfigError(refusal)
    return HubId(name, revision or None)


def download_model(hub_id: str, observer: Observer | None = None, hub: Hub = USUAL) -> Path:
    """Fetch a model from the hub, and return its folder in the cache; what is there already is not fetched again.

    Raises ConfigError for a text that is no id; CheckpointError for a model that does not exist, is none of aam, can
    neither be fetched nor found in the cache, or whose files do not have their checksums.
    """
    name, observer = parse_hub_id(hub_id), observer or Observer()
    if hub.offline:
        folder = cached_model(name, "HF_HUB_OFFLINE is set", hub, observer)
    else:
        try:
            folder = fetch(name, hub, observer)
        except Unreachable as error:
            folder = cached_model(name, str(error), hub, observer)
    for place in fold_folders(folder) or [folder]:
        read_stored(place).verify()
    return folder


def push_to_hub(
    model: Path,
    hub_id: str,
    facts: CardFacts = NO_FACTS,
    private: bool = False,
    observer: Observer | None = None,
    hub: Hub = USUAL,
) -> str:
    """Upload a model as `save_pretrained` saves it, its card as the page of the hub, and return its address there.

    The model is made on the hub, `private` or public, if it does not exist; files of an earlier upload are replaced.
    Raises an InputError if that is not possible.
    """
    name, observer = parse_hub_id(hub_id), observer or Observer()
    if name.revision is not None:
        raise ConfigError(f"{hub_id}: an upload makes a revision of its own; give {name.name}")
    if hub.offline:
        raise ConfigError(f"{hub_id}: HF_HUB_OFFLINE is set; unset it to upload, or save the model in a folder")
    with tempfile.TemporaryDirectory() as work:
        folder = save_pretrained(model, Path(work) / "model", facts, name=name.name)
        (folder / PAGE).rename(folder / HUB_PAGE)
        api = hub.library()
        try:
            with hub_errors(name, hub), observer.stage(f"uploading {name} to {hub.address}"):
                api.create_repo(name.name, private=private, exist_ok=True)
                api.upload_folder(
                    repo_id=name.name, folder_path=folder, allow_patterns=PATTERNS,
                    delete_patterns=[*OWN_FILES, f"{FOLD}*"],
                    commit_message=f"Model of aam {aam.__version__}",
                )  # fmt: skip
        except Unreachable as error:
            raise CheckpointError(f"{name}: {error}; try again later, or save the model in a folder") from error
    return f"{hub.address}/{name.name}"


class Unreachable(CheckpointError):
    """The hub does not answer, or answers with an error of its own; a copy in the cache serves as well."""


@contextmanager
def hub_errors(name: HubId, hub: Hub) -> Iterator[None]:
    """Turn what a hub or the network answers into one line: `Unreachable`, or CheckpointError if the hub refuses."""
    at = hub.address
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{name}: {at} has no revision {name.revision!r} of it; leave it out, or see {at}/{name.name}"
        ) from error
    except errors.GatedRepoError as error:
        raise CheckpointError(f"{name}: its owner gives access on request; ask for it at {at}/{name.name}") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{name}: neither a folder here nor a model on {at} (or a private one); check the name, or log in with "
            "`hf auth login`"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise CheckpointError(
                f"{name}: {at} refuses it ({status}); log in with `hf auth login` and a token that has this right"
            ) from error
        raise Unreachable(f"{at} answers with error {status}") from error
    except errors.LocalEntryNotFoundError as error:
        raise Unreachable(f"{at} broke off") from error
    except (errors.HTTPError, ConnectionError, TimeoutError) as error:
        reason = shorten(one_line(error), REASON) or type(error).__name__
        raise Unreachable(f"{at} cannot be reached ({reason})") from error


def fetch(name: HubId, hub: Hub, observer: Observer) -> Path:
    """Fetch the files of a model that are not in the cache yet; its configuration first, to see whether it is one."""
    api, cache = hub.library(), hub.cache
    with hub_errors(name, hub):
        info = api.model_info(name.name, revision=name.revision, timeout=SECONDS)
        files = [file.rfilename for file in info.siblings or []]
        configs = sorted(file for file in files if file == CONFIG or re.fullmatch(rf"{FOLD}[^/]+/{CONFIG}", file))
        if not configs:
            raise no_model(name, hub, f"it has no {CONFIG}")
        config = api.hf_hub_download(name.name, configs[0], revision=info.sha, cache_dir=cache)
        try:
            read_about(Path(config))
        except ValueError as error:
            raise no_model(name, hub, one_line(error)) from error
        with observer.stage(f"fetching {name} from {hub.address}"):
            return Path(
                api.snapshot_download(name.name, revision=name.revision, allow_patterns=PATTERNS, cache_dir=cache)
            )


def no_model(name: HubId, hub: Hub, reason: str) -> CheckpointError:
    """The error for something on the hub that is no model of aam."""
    return CheckpointError(f"{name} on {hub.address} is no model of aam ({reason}); give one that was saved by aam")


def cached_model(name: HubId, reason: str, hub: Hub, observer: Observer) -> Path:
    """The copy of a model in the cache, said with the reason; raises CheckpointError if there is none."""
    find, cache = hub.library().snapshot_download, hub.cache
    try:
        found = find(name.name, revision=name.revision, allow_patterns=PATTERNS, cache_dir=cache, local_files_only=True)
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{name}: {reason}, and {cache} has no whole copy of it; connect once, or give the folder of a model"
        ) from error
    observer.say(f"{name}: {reason}; opened the copy that was fetched before, commit {Path(found).name[:12]}")
    return Path(found)

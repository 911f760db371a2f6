"""What the hub says about a repository, and its answers as sentences. Through `huggingface_hub`, and our own network.

HF_ENDPOINT (a mirror) is honoured; whose token goes along says `account`, and to which machine alone `network`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from backend.api.errors import AccessError, NetworkError, NotFoundError, NutshellError
from backend.hub.account import endpoint, token
from backend.hub.network import NETWORK, Network, at_most

if TYPE_CHECKING:
    import httpx2

__all__ = ["Found", "RemoteFile", "Repository", "hub_errors", "open_repository", "search", "session"]

#: of names; a hub's answer becomes part of paths
_REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.ASCII)
#: requests of one search at most: it asks for as many answers as fit on the first page
_PAGES: Final = 8
#: asked for with a search, in the one answer
_OF_A_SEARCH: Final[tuple[Literal["downloads"], Literal["likes"], Literal["gguf"], Literal["safetensors"]]] = (
    "downloads", "likes", "gguf", "safetensors",
)  # fmt: skip
_PART = re.compile(r"[^\x00-\x1f<>:\"|?*\\/]{1,200}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file: its path in the repository, its bytes, and what it must hash to.

    `sha256` is "" for small files, which git itself keeps; `etag` is the name of its blob: the SHA-256, or git's SHA-1.
    """

    path: str
    bytes: int
    etag: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Repository:
    """One commit of a repository."""

    name: str
    commit: str
    files: tuple[RemoteFile, ...] = field(repr=False)
    licence: str = ""
    gated: bool = False


def session(network: Network = NETWORK) -> httpx2.Client:
    """The client that talks to the hub, shared by all threads."""
    # Else it tells of this machine's Python and torch, and asks its own site which coding tools there are to tell of.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils._http import get_session

    constants.HF_HUB_DISABLE_TELEMETRY = True  # the package may have been imported before
    client = network.client("models")
    if get_session() is not client:
        set_client_factory(lambda: network.client("models"))
    return client


def open_repository(name: str, revision: str = "main", network: Network = NETWORK) -> Repository:
    """Asks for the files of a repository.

    Raises:
        OfflineError, NetworkError: the hub. NotFoundError: no such repository, or the name is none. AccessError.
    """
    if _REPOSITORY.fullmatch(name) is None or ".." in name:
        raise NotFoundError(
            f"{name[:80]!r} is not the name of a repository.",
            why="A name is that of an owner, a slash, and that of the repository.",
            remedy="For example: bartowski/SmolLM2-135M-Instruct-GGUF",
        )
    network.check("models")
    session(network)
    from huggingface_hub import HfApi

    with hub_errors(name):
        info: Any = HfApi(endpoint=endpoint(), token=token() or False).model_info(
            name, revision=revision, files_metadata=True, timeout=20
        )
    if not isinstance(info.sha, str) or _COMMIT.fullmatch(info.sha) is None:
        raise _nonsense(name, "it names no commit")
    files = tuple(_file(name, sibling) for sibling in info.siblings or ())
    card = info.card_data.to_dict() if info.card_data is not None else {}
    licence = card.get("license_name") or card.get("license")
    return Repository(name, info.sha, files, licence if isinstance(licence, str) else "", bool(info.gated))


class Found(NamedTuple):
    """A repository that a search found. `parameters`: numbers in its weights, 0 where the hub does not say."""

    name: str
    downloads: int
    likes: int
    parameters: int = 0


def search(text: str, *, limit: int = 30, network: Network = NETWORK) -> list[Found]:
    """Repositories that hold models to run here, the most used first.

    Raises:
        OfflineError, NetworkError.
    """
    network.check("models")
    session(network)
    from huggingface_hub import HfApi

    with hub_errors(text), at_most(_PAGES):
        found: Any = HfApi(endpoint=endpoint(), token=token() or False).list_models(
            search=text, pipeline_tag="text-generation", sort="downloads", limit=limit, expand=list(_OF_A_SEARCH)
        )
        return [Found(one.id, one.downloads or 0, one.likes or 0, _parameters(one)) for one in found]


def _parameters(info: Any) -> int:
    """What the hub has read of the headers."""
    gguf = info.gguf.get("total") if isinstance(info.gguf, dict) else None
    total = gguf or (info.safetensors.total if info.safetensors is not None else None)
    return total if isinstance(total, int) and 0 < total < 1 << 50 else 0


def file_url(name: str, commit: str, path: str) -> str:
    """Where one file of one commit is."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(name, path, revision=commit, endpoint=endpoint())


def request_headers() -> dict[str, str]:
    """Those of a download: who asks, and no compression, so that bytes are bytes of the file."""
    from huggingface_hub.utils._headers import build_hf_headers

    return {**build_hf_headers(token=token() or False, library_name="nutshell"), "Accept-Encoding": "identity"}


def _file(repository: str, sibling: Any) -> RemoteFile:
    path, size = sibling.rfilename, sibling.size
    pure = PurePosixPath(path)
    parts = path.split("/")
    safe = all(
        _PART.fullmatch(part) and part not in (".", "..") and part == part.strip(" ") and not part.endswith(".")
        and not _RESERVED.fullmatch(part)
        for part in parts
    )  # fmt: skip
    if not safe or pure.is_absolute() or len(parts) > 8:
        raise _nonsense(repository, f"it has a file that is called {path[:80]!r}")
    sha256 = sibling.lfs.sha256 if sibling.lfs is not None else ""
    etag = sha256 or sibling.blob_id
    if sibling.lfs is not None:
        size = sibling.lfs.size
    if not isinstance(size, int) or size < 0 or not isinstance(etag, str):
        raise _nonsense(repository, f"it does not say how large {path[:80]} is")
    if _COMMIT.fullmatch(etag) is None and _SHA256.fullmatch(etag) is None:
        raise _nonsense(repository, f"the checksum of {path[:80]} is none")
    return RemoteFile(path, size, etag, sha256)


def _nonsense(repository: str, why: str) -> NetworkError:
    return NetworkError(
        f"The hub's answer about {repository} makes no sense.", why=f"As it says, {why}.", remedy="Try again later."
    )


@contextlib.contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """What goes wrong with the hub, as sentences about the repository `name`."""
    import httpx2
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        yield
    except NutshellError:
        raise
    except GatedRepoError as error:
        raise denied(name, 403) from error
    except RepositoryNotFoundError as error:
        raise missing(name) from error
    except HfHubHTTPError as error:
        raise refused(name, error.response.status_code, str(error)) from error
    except OfflineModeIsEnabled as error:
        raise NetworkError("Nutshell is offline.", why="HF_HUB_OFFLINE is set.") from error
    except httpx2.TimeoutException as error:
        raise unreachable("It did not answer in time.", error) from error
    except httpx2.HTTPError as error:
        raise unreachable("There is no connection to it.", error) from error
    except ValueError as error:  # an answer that is no JSON, or not what it should be
        raise _nonsense(name, "it is not what a hub says") from error


def unreachable(why: str, error: Exception | str, *, kept: bool = False) -> NetworkError:
    """No connection, or one that breaks off; `kept` where part of a file is here already."""
    return NetworkError(
        f"{endpoint().removeprefix('https://')} cannot be reached.",
        why=why,
        remedy="Check the connection and the proxy, then "
        + ("go on: what has arrived is kept." if kept else "try again."),
        details=str(error),
    )


def missing(name: str) -> NotFoundError:
    """404 from the hub: also what it says of private repositories."""
    return NotFoundError(
        f"There is no repository {name} on the hub.",
        why="It was renamed or removed, or it is private and this machine is not logged in.",
        remedy="Check the name; for a private one, enter a token in Settings under Network, or set HF_TOKEN.",
    )


def denied(name: str, status: int) -> AccessError:
    """401 and 403."""
    known = token() is not None
    return AccessError(
        f"{name} may not be downloaded yet.",
        why="Its owners ask everyone to accept a licence first."
        if status == 403
        else "The hub does not know this machine's token." if known else "The hub wants to know who asks.",
        remedy=f"Open https://huggingface.co/{name} in a browser and accept it there"
        + ("." if known else ", then enter a token in Settings under Network, or set HF_TOKEN."),
    )  # fmt: skip


def refused(name: str, status: int, details: str = "") -> NutshellError:
    """Any other status that is a failure."""
    if status in (401, 403):
        return denied(name, status)
    if status == 404:
        return missing(name)
    why = "It has too many requests at the moment." if status == 429 else f"It answered with the status {status}."
    return NetworkError(f"The hub did not give {name}.", why=why, remedy="Try again in a few minutes.", details=details)

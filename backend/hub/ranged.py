"""A file of the hub, of which only some bytes are fetched: enough of a header to know what a model needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from backend.formats.gguf import GGUFHeader, parse_part
from backend.formats.json_text import parse_object
from backend.hub.network import NETWORK, Network
from backend.hub.remote import RemoteFile, Repository, file_url, hub_errors, refused, request_headers, session

if TYPE_CHECKING:
    import httpx2

__all__ = ["RangedFile", "peek_config", "peek_gguf"]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
#: a config.json has 1 to 30 KB
_MOST_JSON = 1 << 20


class RangedFile:
    """Reads on from where it stands, one request a `read`. A server without ranges is read from the start each time."""

    def __init__(self, client: httpx2.Client, repository: Repository, file: RemoteFile) -> None:
        self._client = client
        self._repository = repository
        self._file = file
        self._at = 0

    def read(self, count: int) -> bytes:
        """The next bytes; fewer where the file ends or the line breaks off.

        Raises:
            NetworkError and its kin.
        """
        count = min(count, self._file.bytes - self._at)
        if count <= 0:
            return b""
        url = file_url(self._repository.name, self._repository.commit, self._file.path)
        headers = {**request_headers(), "Range": f"bytes={self._at}-{self._at + count - 1}"}
        with hub_errors(self._repository.name), self._client.stream("GET", url, headers=headers) as response:
            if response.status_code not in (200, 206):
                raise refused(self._repository.name, response.status_code)
            skip = self._at
            if response.status_code == 206:
                found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if found is None or int(found[1]) != self._at:
                    raise refused(self._repository.name, 206, "another range than was asked for")
                skip = 0
            got = bytearray()
            for piece in response.iter_raw():
                got += piece
                if len(got) >= skip + count:  # the rest is not read, whatever else is sent
                    break
        part = bytes(got[skip : skip + count])
        self._at += len(part)
        return part


def peek_gguf(repository: Repository, file: RemoteFile, network: Network = NETWORK) -> GGUFHeader:
    """The header of a GGUF file on the hub: 1 to 16 MB of it are fetched, most of that the vocabulary.

    Raises:
        ModelError: it is damaged, or no model. OfflineError, NetworkError and its kin.
    """
    return parse_part(file.path.rsplit("/", 1)[-1], _open(repository, file, network), file.bytes)


def peek_config(repository: Repository, file: RemoteFile, network: Network = NETWORK) -> dict[str, Any]:
    """A config.json on the hub. Raises ModelError, OfflineError, NetworkError and its kin."""
    return parse_object(_open(repository, file, network).read(_MOST_JSON), "its config.json")


def _open(repository: Repository, file: RemoteFile, network: Network) -> BinaryIO:
    network.check("models")
    return cast(BinaryIO, RangedFile(session(network), repository, file))

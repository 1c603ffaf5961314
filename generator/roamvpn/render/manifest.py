"""The manifest of a rendered gateway: each file with its mode, its digest and the digest of what it is made from."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from roamvpn.policy.keys import fingerprint
from roamvpn.tables.base import Frozen
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.types import Name

MANIFEST = "manifest.json"
INCLUDED = re.compile(r"(?:base|session)/(?:peers|legs|secrets)/[^/]+\.conf\Z", re.DOTALL)
"""What `swanctl.conf` includes, so that a file here counts whether a manifest names it or not."""

FOREIGN = "in no manifest"
"""Stands for the digest of such a file that the manifest does not name."""

FilePath = Annotated[
    str, StringConstraints(pattern=r"^[a-z][A-Za-z0-9_-]*(\.[a-z]+)?(/[A-Za-z0-9_-]+(\.[a-z]+)?){0,3}$", max_length=200)
]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12,64}$")]


class FileEntry(Frozen):
    """One file, by what it is made from and by what it holds.

    A secret file has a keyed `fingerprint` where others have `sha256`: whoever reads the manifest cannot try guesses.
    """

    mode: Literal["0644", "0600"]
    source: Digest
    sha256: Digest | None = None
    fingerprint: Digest | None = None

    def fits(self, content: bytes, key: bytes | None) -> bool:
        """Whether the content is what was rendered; without the key a secret is taken as it is."""
        if self.fingerprint is not None:
            return key is None or fingerprint(key, content) == self.fingerprint
        return content_digest(content) == self.sha256


class Manifest(Frozen):
    """All files of one gateway's generation; `digest` names the generation."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    gateway: Name
    digest: Digest
    files: dict[FilePath, FileEntry]

    def text(self) -> str:
        """The file `manifest.json`, the same bytes for the same content."""
        return (
            json.dumps(self.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1, sort_keys=True) + "\n"
        )


def build(gateway: str, files: dict[str, FileEntry]) -> Manifest:
    """The manifest of these files."""
    whole = sha256()
    for path, entry in sorted(files.items()):
        whole.update(f"{path}\x00{entry.mode}\x00{entry.source}\n".encode())
    # built from values that we made: validated when read, not when written
    return Manifest.model_construct(schema_version=1, gateway=gateway, digest=whole.hexdigest()[:32], files=files)


def parse(text: str | bytes) -> Manifest:
    """Read a manifest that came from elsewhere; raises RoamvpnError."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])[:80]
        raise RoamvpnError(f"{MANIFEST}: {where}: {first['msg']}") from None


def content_digest(content: bytes) -> str:
    """Digest of a file's content, as manifests give it."""
    return sha256(content).hexdigest()

"""The example network's gateways as they are rendered, and as bundles."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from typing import TYPE_CHECKING, NamedTuple

import pytest

from roamvpn.engine import open_site
from roamvpn.stores.bundles import pack
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.stores.tree import write_tree
from roamvpn.tables.site import load_site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Bundle(NamedTuple):
    """A gateway's bundle, its digest, and its files."""

    gateway: str
    digest: str
    content: bytes
    tree: Path


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("rendered")
    site = work / "site"
    shutil.copytree(example_site(), site, ignore=shutil.ignore_patterns("secrets.yml", ".roamvpn"))
    complete_secrets(site / "secrets.yml", load_site(read_site(site)).tables)
    write_tree(work / "out", open_site(site).side, "example")
    return work / "out"


@pytest.fixture(scope="session")
def bundle(trees: Path) -> Bundle:
    digest = json.loads((trees / "fa21/manifest.json").read_text())["digest"]
    return Bundle("fa21", digest, pack(trees / "fa21"), trees / "fa21")


@pytest.fixture(scope="session")
def changed(bundle: Bundle) -> Callable[[str], Bundle]:
    """Another generation of the same gateway, with this text as base/sysctl.conf and a manifest that fits."""

    def make(text: str) -> Bundle:
        name, content = "base/sysctl.conf", text.encode()
        manifest = json.loads((bundle.tree / "manifest.json").read_text())
        digest = hashlib.sha256(content).hexdigest()
        manifest["files"][name] |= {"sha256": digest, "source": digest[:32]}
        rows = sorted(manifest["files"].items())
        whole = "".join(f"{path}\x00{entry['mode']}\x00{entry['source']}\n" for path, entry in rows)
        manifest["digest"] = hashlib.sha256(whole.encode()).hexdigest()[:32]
        replaced = {name: content, "manifest.json": json.dumps(manifest).encode()}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path in ("manifest.json", *manifest["files"]):
                member = tarfile.TarInfo(path)
                body = replaced.get(path) or (bundle.tree / path).read_bytes()
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
        return Bundle("fa21", manifest["digest"], buffer.getvalue(), bundle.tree)

    return make

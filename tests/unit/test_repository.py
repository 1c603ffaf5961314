"""What several files of the repository must agree on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import roamvpn

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PURE = {"tables", "policy", "render", "plan", "signalling", "wire"}


def test_the_collection_has_the_version_of_the_package() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    assert galaxy["version"] == roamvpn.__version__


def test_the_collection_and_the_package_want_the_same_ansible() -> None:
    (bounds,) = [each for each in PROJECT["project"]["dependencies"] if each.startswith("ansible-core")]
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())
    assert re.sub(r"\.0\b(?=,|$)", "", runtime["requires_ansible"]) == bounds.removeprefix("ansible-core")


def test_every_pure_package_is_under_the_contract_on_io() -> None:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["name"] == "no I/O in the pure core"]
    present = {each for each in PURE if (ROOT / "generator/roamvpn" / each / "__init__.py").exists()}
    assert set(contract["source_modules"]) == {f"roamvpn.{each}" for each in present}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_pins_every_package_with_hashes_and_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.findall(r"^([a-z0-9.-]+)==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(entries) == len(lines)
    assert "://" not in text


def test_the_locks_cover_every_dependency() -> None:
    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[<>=]", each)[0].lower() for each in requirements}

    runtime = names(re.findall(r"^\S+==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    dev = names(re.findall(r"^\S+==", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE))
    assert names(PROJECT["project"]["dependencies"]) <= runtime
    assert runtime | names(PROJECT["dependency-groups"]["dev"]) <= dev

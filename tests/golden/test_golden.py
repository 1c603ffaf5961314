"""Small scenarios whose rendered files a person can review: see README.md beside this file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from roamvpn.tables.types import GwType, Keying, Security, Share
from tests.one_vpn import Vpn, documents, side, with_secrets

_HERE = Path(__file__).resolve().parent
SCENARIOS = {
    "own-esp-static": (Vpn(), "E1: alice's own ESP to the enterprise, anchored at the home agent, class ef"),
    "shared-esp-dynamic": (
        Vpn(route=GwType.DYNAMIC, share=Share.SHARED, service="af11"),
        "E4: the ESP that fa21 and pcn41 share, past the home agent, class af11",
    ),
    "own-ah-dynamic": (
        Vpn(Security.AH, GwType.DYNAMIC, Share.OWN, "none"),
        "alice's own AH past the home agent: integrity only, no class",
    ),
    "shared-esp-static": (Vpn(share=Share.SHARED), "E1 on what gateways share: certificates, then the SLA's PSK"),
    "encapsulation-static": (
        Vpn(Security.ENCAPSULATION, share=Share.SHARED, service="af41"),
        "IP-in-IP on both segments: no association, class af41",
    ),
    "own-esp-keyed-by-hand": (
        Vpn(keying=Keying.STATIC),
        "the SLA's segment without IKEv2: policies here, states in the secrets; the foreign agent's segment as ever",
    ),
    "shared-ah-keyed-by-hand": (
        Vpn(Security.AH, share=Share.SHARED, keying=Keying.STATIC, service="none"),
        "one association keyed by hand for all users of the enterprise",
    ),
}


def _files(name: str) -> dict[str, str]:
    vpn, description = SCENARIOS[name]
    rendered = side(with_secrets(documents(vpn)).site())
    found = {"scenario.txt": f"{description}\n({vpn})\n"}
    listed = []
    for gateway in sorted(rendered.gateways()):
        for path, artefact in sorted(rendered.artefacts(gateway).items()):
            if artefact.unit is not None:
                listed.append(f"{artefact.mode:04o} {gateway}/{path}\n")
                if not artefact.secret:
                    found[f"{gateway}/{path}"] = rendered.text(gateway, path) or ""
    return {**found, "files.txt": "".join(listed)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_renders_as_reviewed(name: str, *, update_golden: bool) -> None:
    folder = _HERE / name
    expected = _files(name)
    if update_golden:
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in expected.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert found == expected


def test_every_folder_is_a_scenario() -> None:
    assert {
        path.name for path in _HERE.iterdir() if path.is_dir() and path.name not in ("__pycache__", "embodiments")
    } == set(SCENARIOS)

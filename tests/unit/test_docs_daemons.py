"""The operator's handbook names what daemons take, say and count: every setting, log event, metric and alarm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from roamvpn.aaa.config import AaaConfig, ServerKeys
from roamvpn.agent.config import AgentConfig, Association, Keyring, Radius
from roamvpn.daemon.config import SignallingConfig
from roamvpn.daemon.diameter.settings import DiameterConfig, Listen, PeerConfig, TlsFiles

if TYPE_CHECKING:
    from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/run-agents.md").read_text()
SHELLS = ("daemon", "agent", "aaa")
MODELS = (
    AgentConfig,
    Radius,
    Keyring,
    Association,
    SignallingConfig,
    DiameterConfig,
    PeerConfig,
    Listen,
    TlsFiles,
    AaaConfig,
    ServerKeys,
)


def _found(pattern: str, *packages: str) -> set[str]:
    """First groups of a pattern in these packages' code."""
    files = [path for package in packages for path in (ROOT / "generator/roamvpn" / package).rglob("*.py")]
    return {found for path in files for found in re.findall(pattern, path.read_text())}


def _named(word: str) -> bool:
    """Whether a word stands in code on the page, by itself or in an example."""
    return re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", " ".join(re.findall(r"`[^`\n]+`", PAGE))) is not None


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_handbook_names_every_setting(model: type[BaseModel]) -> None:
    assert [name for name in model.model_fields if not _named(name)] == []


def test_the_handbook_has_the_defaults_of_places_and_times() -> None:
    places = [field.default for field in AgentConfig.model_fields.values() if isinstance(field.default, str)]
    assert [place for place in places if not _named(place)] == []
    times = {name: field.default for name, field in SignallingConfig.model_fields.items() if name != "order"}
    text = re.sub(r"\s+", " ", PAGE)
    assert [name for name, seconds in times.items() if f"`{name}` {seconds}" not in text] == []


def test_the_handbook_names_every_event_of_the_log() -> None:
    events = _found(r"(?:\b|_)log\)?\.(?:info|warning|error|critical)\(\s*\"([^\"]+)\"", *SHELLS)
    events |= _found(r"\blog\.info if \w+ else log\.warning\)\(\s*\"([^\"]+)\"", *SHELLS)
    assert len(events) > 40
    assert sorted(event for event in events if not _named(event)) == []


def test_the_handbook_names_every_metric() -> None:
    metrics = {f"roamvpn_{name}_total" for name in _found(r"\.counter\(\"(\w+)\"", *SHELLS)}
    metrics |= {f"roamvpn_{name}" for name in _found(r"\.(?:gauge|histogram)\(\"(\w+)\"", *SHELLS)}
    assert len(metrics) > 12
    assert sorted(name for name in metrics if not _named(name)) == []


def test_the_handbook_says_what_to_do_about_every_alarm() -> None:
    said = _found(r"\bAlarm\([^,()]+, f?\"([^\"]+)\"", "signalling")
    said |= _found(r"\b_?(?:alarm|raise)\([^\"\n]*f?\"[^\"]*\", f?\"([^\"]+)\"", *SHELLS)
    said |= _found(r"\b_?(?:alarm|raise)\((?:\"\", |[\w.]+, )f?\"([^\"]{8,})\"\)", *SHELLS)
    # between what is filled in
    words = {part.strip() for text in said for part in re.split(r"\{[^}]*\}", text) if part.strip(": ")}
    assert len(words) > 5
    alarms = PAGE.partition("## Alarms")[2].partition("\n## ")[0]
    assert sorted(part for part in words if part not in alarms) == []

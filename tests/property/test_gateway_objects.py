"""Names of kernel objects: what a line makes is what its name's removal takes away, and nothing else is."""

from __future__ import annotations

import shutil
from itertools import chain
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamvpn.engine import open_site
from roamvpn.gateway import objects, units
from roamvpn.gateway.errors import GatewayError
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import read_site
from roamvpn.stores.templates import example_site
from roamvpn.stores.tree import write_tree
from roamvpn.tables.site import load_site
from tests.one_vpn import MATRIX, Vpn, documents, side, with_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.gateway.units import Command

_KINDS = {"link", "rule", "route", "qdisc", "class", "filter"}
_BY_HAND = {"policy", "state"}


def _gateways(tree: Path) -> list[list[Command]]:
    """Lines of each gateway of a rendered tree."""
    found = [units.read(manifest.parent) for manifest in sorted(tree.glob("*/manifest.json"))]
    return [[*wanted.devices, *wanted.legs] for wanted in found]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> list[list[Command]]:
    work = tmp_path_factory.mktemp("example")
    site = work / "site"
    shutil.copytree(example_site(), site, ignore=shutil.ignore_patterns("secrets.yml", ".roamvpn"))
    complete_secrets(site / "secrets.yml", load_site(read_site(site)).tables)
    write_tree(work / "out", open_site(site).side, "example")
    return _gateways(work / "out")


def _making(line: str) -> str:
    """The line that makes what a removal takes away."""
    verb = "add" if line.startswith(("link ", "rule ")) else "replace"
    return line.replace(" delete ", f" {verb} ", 1)


def _consistent(commands: list[Command]) -> set[str]:
    """The kinds of objects that lines of one gateway make."""
    removals: dict[tuple[str, str], str] = {}
    for command in commands:
        name = objects.of_line(command.tool, command.line)
        tool, line = objects.removal(name)
        assert tool == command.tool
        assert objects.of_line(tool, _making(line)) == name
        # a removal takes one object only
        assert removals.setdefault((tool, line), name) == name
        # and says nothing that the line did not say
        known = {
            *command.line.replace("/32 ", " ").split(),
            *command.line.split(),
            "delete",
            "parent",
            "1:",
            "flower",
            "protocol",
            "ip",
        }
        assert {word for word in line.split() if not word.startswith("0x")} <= known
    return {name.split()[0] for name in removals.values()}


def test_every_line_of_the_example_is_what_its_removal_removes(example: list[list[Command]]) -> None:
    kinds = [_consistent(commands) for commands in example]
    assert set(chain(*kinds)) == _KINDS


@pytest.mark.parametrize("vpn", MATRIX, ids=str)
def test_every_line_of_every_vpn_is_what_its_removal_removes(vpn: Vpn, tmp_path: Path) -> None:
    write_tree(tmp_path / "out", side(with_secrets(documents(vpn)).site()), "example")
    kinds = set(chain(*(_consistent(commands) for commands in _gateways(tmp_path / "out"))))
    assert kinds >= _KINDS
    by_hand = str(vpn.keying) == "static" and vpn.associated
    assert kinds & _BY_HAND == (_BY_HAND if by_hand else set())


def test_only_what_may_be_said_again_is_said_again(example: list[list[Command]]) -> None:
    said_again = 0
    for commands in example:
        seen: dict[str, list[str]] = {}
        for command in commands:
            seen.setdefault(objects.of_line(command.tool, command.line), []).append(command.line)
        for name, lines in seen.items():
            if name.startswith("link "):
                # made, then set up
                assert [line.split()[1] for line in lines] == ["add", "set"]
            else:
                # two legs of a user ask for the same route, in the same words
                assert len(set(lines)) == 1
                assert len(lines) == 1 or " replace " in lines[0]
                said_again += len(lines) > 1
    assert said_again


def test_devices_of_others_are_what_a_trial_must_make(example: list[list[Command]]) -> None:
    for commands in example:
        found = objects.devices((command.tool, command.line) for command in commands)
        assert found == {
            word
            for command in commands
            for before, word in zip(command.line.split(), command.line.split()[1:], strict=False)
            if before == "dev" and word in ("wan", "lan")
        }
        assert "wan" in found


_TEXT = """
link add set rule route replace prohibit delete default xfrm policy state qdisc class filter dev root clsact parent
classid block pref handle metric table fwmark lookup src dst dir if_id proto spi rv-own0 wan 1:1 7 0x7 esp out
10.0.0.0/8 192.0.2.1 flower protocol ip
"""
_WORDS = st.sampled_from(_TEXT.split())


@given(st.sampled_from(["ip", "tc"]), st.lists(_WORDS, max_size=14))
def test_any_line_has_a_name_that_can_be_removed_or_is_refused(tool: str, words: list[str]) -> None:
    try:
        name = objects.of_line(tool, " ".join(words))
    except GatewayError:
        return
    assert objects.removal(name)[0] == tool
    assert " delete " in objects.removal(name)[1]


@given(st.sampled_from(["ip", "tc"]), st.text(max_size=60))
def test_any_text_is_refused(tool: str, text: str) -> None:
    with pytest.raises(GatewayError, match="not a line of ours"):
        objects.of_line(tool, text)


@given(st.one_of(st.integers(), st.text(max_size=12), st.booleans(), st.none()))
def test_only_numbers_in_our_ranges_are_ours(number: object) -> None:
    value = number if isinstance(number, int) else None
    found = objects.ours(number)
    if value is not None:
        ranges = ((400_000, 400_002), (500_000, 565_535), (600_000, 665_535), (700_000, 765_535))
        assert found == any(low <= value <= high for low, high in ranges)
        assert objects.ours(hex(value)) == found
    assert found == objects.ours(str(number))

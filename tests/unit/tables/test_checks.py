"""Contradictions within and between the tables: each found, with file, line, field and value, all at once."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from tests.documents import Documents

if TYPE_CHECKING:
    from collections.abc import Callable


def _case(name: str, change: Callable[[Documents], object], *expected: str) -> object:
    return pytest.param(change, expected, id=name)


def _set(**values: object) -> Callable[[dict[str, object]], None]:
    return lambda node: node.update(values)


CASES = [
    _case(
        "equal prefixes with different gateways",  # B6
        lambda d: d.rows.append({"cn": "198.51.100.0/25", "gw_address": "192.0.2.42", "gw_type": "dynamic"}),
        "cn_gw_table.yml:16",
        "cn_gw_table[4].cn",
        "198.51.100.0/25",
        "with the other gateway 192.0.2.41",
    ),
    _case(
        "an equal row twice",
        lambda d: d.rows.append(dict(d.rows[1])),
        "cn_gw_table[4].cn",
        "stands twice",
    ),
    _case(
        "a destination outside its row",  # G17
        lambda d: d.record(6).update(destaddr="198.51.100.0/24"),
        "vpn_database.yml",
        "vpn_database[5].destaddr",
        "198.51.100.0/24",
        "outside its CN-GW row",
    ),
    _case("an unknown class", lambda d: d.record(1).update(upclass="gold"), "vpn_database[0].upclass", "'gold'"),
    _case(
        "a profile number twice",  # B1
        lambda d: d.record(2).update(profile_number=1),
        "vpn_database[1].profile_number",
        "must be unique",
    ),
    _case(
        "an own association without its SPI",  # B3
        lambda d: d.record(1).pop("down_spi"),
        "vpn_database[0]",
        "needs down_spi",
    ),
    _case("an own association without a class", lambda d: d.record(1).pop("upclass"), "needs upclass"),
    _case(
        "a static gateway with a generated key",  # G11
        lambda d: d.gateway("gw51")["sla"].update(keys="generated"),
        "gateways.gw51.sla.keys",
        "cannot learn a generated key",
    ),
    _case("a reserved SPI", lambda d: d.record(1).update(up_spi=0xFF), "vpn_database[0].up_spi", "255", "reserved"),
    _case(
        "two SPIs at one receiver",
        lambda d: d.record(3).update(up_spi=0x1001),
        "vpn_database[2].up_spi",
        "0x1001",
        "collides at its receiver",
        "profile 1",
    ),
    _case(
        "a user's own two SPIs at the home agent",
        lambda d: d.record(1).update(down_spi=0x1001),
        "vpn_database[0].down_spi",
        "collides at its receiver ha31",
    ),
    _case(
        "two SPIs at one foreign agent",
        lambda d: (d.record(7).update(down_spi=0x1004), d.record(7).update(up_spi=0x3000)),
        "sessions[5].foreign_agent",
        "collides there",
    ),
    _case(
        "an address twice", lambda d: d.gateway("fa22").update(address="192.0.2.21"), "is already the address of fa21"
    ),
    _case(
        "a home address that is a gateway's",
        lambda d: d.gateway("fa22").update(address="203.0.113.5"),
        "subscribers[0].home_address",
        "is already the address of fa22",
    ),
    _case(
        "a home address outside its home network",
        lambda d: d.network["subscribers"][1].update(home_address="203.0.114.6"),
        "subscribers[1].home_address",
        "lies in no home network of ha31",
    ),
    _case("a number twice", lambda d: d.gateway("fa22").update(number=21), "gateways.fa22.number", "of fa21"),
    _case(
        "a row whose type contradicts its gateway",
        lambda d: d.rows[1].update(gw_type="static"),
        "cn_gw_table[1].gw_type",
        "pcn41 has no role static",
    ),
    _case("a row to no gateway", lambda d: d.rows[1].update(gw_address="192.0.2.99"), "is the address of no gateway"),
    _case("a tenant that is none", lambda d: d.rows[0].update(tenant="other"), "cn_gw_table[0].tenant", "'other'"),
    _case(
        "an SLA with another home agent",
        lambda d: (
            d.network["gateways"].update(
                ha32={**copy.deepcopy(d.gateway("ha31")), "number": 32, "address": "192.0.2.32"}
            ),
            d.gateway("gw51")["sla"].update(home_agent="ha32"),
        ),
        "has its SLA with ha32",
    ),
    _case(
        "encapsulation only where it is not allowed",
        lambda d: d.network.pop("allow_encapsulation_only"),
        "vpn_database[5].security",
        "sends in clear",
    ),
    _case(
        "one destination twice for a user",
        lambda d: d.record(4).update(destaddr="10.5.0.0/16"),
        "profile 3 has this destination already",
    ),
    _case("a session of nobody", lambda d: d.sessions[0].update(nai="x@isp3.example"), "sessions[0].nai"),
    _case("a session at no foreign agent", lambda d: d.sessions[0].update(foreign_agent="ha31"), "not a foreign agent"),
    _case("two sessions of a user", lambda d: d.sessions[1].update(nai="alice@isp3.example"), "has a session already"),
    _case("a session identifier twice", lambda d: d.sessions[1].update(session_id="s-alice"), "B10"),
    _case(
        "rates above the uplink's",
        lambda d: d.gateway("fa21")["uplink"].update(rate="10mbit"),
        "gateways.fa21.uplink.rate",
        "exceed this uplink",
    ),
    _case("one DSCP for two classes", lambda d: d.network["classes"]["af11"].update(dscp="EF"), "classes.af11.dscp"),
    _case("a static gateway with a second role", lambda d: d.gateway("gw51").update(roles=["static", "ha"]), "A2"),
    _case(
        "static keying on a dynamic segment",
        lambda d: d.gateway("pcn41").update(sla={"home_agent": "ha31", "keying": "static"}),
        "gateways.pcn41",
        "dynamic segments use IKEv2",
    ),
    _case(
        "a shared association keyed by hand without SPIs",
        lambda d: d.gateway("gw51")["sla"].update(keying="static"),
        "needs sla.up_spi and sla.down_spi",
    ),
    _case("an unknown field", lambda d: d.record(1).update(colour="red"), "vpn_database[0].colour", "Extra inputs"),
    _case(
        "an ESP proposal without integrity",
        lambda d: d.network.update(ike={"esp_proposals": ["aes256-x25519"]}),
        "neither",
    ),
    _case(
        "a secret that is missing",
        lambda d: setattr(d, "secrets", {"site_key": "ab" * 32}),
        "secrets.yml",
        "sla.gw51.profiles.1",
        "needs a psk here",
    ),
]


def test_the_example_holds() -> None:
    assert Documents().problems() == ()


@pytest.mark.parametrize(("change", "expected"), CASES)
def test_a_contradiction_is_found_and_placed(change: Callable[[Documents], object], expected: tuple[str, ...]) -> None:
    documents = Documents()
    change(documents)
    text = "\n".join(map(str, documents.problems()))
    for part in expected:
        assert part in text
    assert all(problem.line > 0 and problem.field for problem in documents.problems())


def test_all_problems_of_all_files_are_found_at_once() -> None:
    documents = Documents()
    documents.gateway("fa22").update(address="192.0.2.21")
    documents.network["classes"]["af11"].update(dscp="AF99")
    documents.record(1).update(up_spi=0xFF)
    documents.record(2).update(profile_number=3)
    documents.record(4).update(upclass="gold")
    documents.rows.append({"cn": "198.51.100.0/25", "gw_address": "192.0.2.42", "gw_type": "dynamic"})
    documents.rows.append({"cn": "198.51.100.0/99", "gw_address": "192.0.2.42", "gw_type": "dynamic"})
    documents.sessions[3].update(session_id="s-alice")
    found = {(problem.file, problem.field) for problem in documents.problems()}
    assert found == {
        ("network.yml", "gateways.fa22.address"),
        ("network.yml", "classes.af11.dscp"),
        ("vpn_database.yml", "vpn_database[0].up_spi"),
        ("vpn_database.yml", "vpn_database[2].profile_number"),
        ("vpn_database.yml", "vpn_database[3].upclass"),
        ("cn_gw_table.yml", "cn_gw_table[4].cn"),
        ("cn_gw_table.yml", "cn_gw_table[5].cn"),
        ("sessions.yml", "sessions[3].session_id"),
    }


def test_rows_that_cannot_be_read_are_not_missed_a_second_time() -> None:
    documents = Documents()
    documents.gateway("fa21").update(address="nowhere")
    assert [problem.field for problem in documents.problems()] == ["gateways.fa21.address"]


def test_a_destination_without_a_row_is_a_warning_and_the_others_go_on() -> None:
    documents = Documents()
    documents.record(2).update(destaddr="192.0.2.200")  # G25
    site = documents.site()
    assert [warning.field for warning in site.warnings] == ["vpn_database[1].destaddr"]


def test_a_secret_never_stands_in_a_message() -> None:
    documents = Documents()
    documents.secrets = {"site_key": "secretsecret", "sla": {"gw51": {"shared": {"psk": "hushhush"}}}}
    text = "\n".join(map(str, documents.problems()))
    assert "site_key" in text
    assert "secretsecret" not in text
    assert "hushhush" not in text

"""Each contradiction of the tables is placed: file, line, field and value."""

from __future__ import annotations

import pytest

from roamvpn.tables.problems import InputError, Problem
from roamvpn.tables.site import load_site
from tests.small_site import texts

NETWORK, CN_GW, DATABASE = "network.yml", "cn_gw_table.yml", "vpn_database.yml"
SESSIONS, TESTS, SECRETS = "sessions.yml", "policy_tests.yml", "secrets.yml"
ANN = "{profile_number: 1, nai: ann@isp3.example, vpnshare: 1, destaddr: 10.1.0.0/16, upclass: ef, downclass: af11,"
ANN_SPIS = "up_spi: 0x1001, down_spi: 0x1002}"
BEN_SPIS = "up_spi: 0x1003, down_spi: 0x1004, security: ah}"

# file, old, new, the line that is complained about by its number or a word of it, field, value, part of the message
ROWS: dict[str, tuple[str, str, str, str | int, str, str, str]] = {
    # network.yml
    "an unknown domain": (
        NETWORK, "{number: 2, domain: isp2,", "{number: 2, domain: isp9,", "isp9", "gateways.fa2.domain", "'isp9'",
        "is not a domain",
    ),
    "an unknown home agent of an SLA": (
        NETWORK, "sla: {home_agent: ha3}", "sla: {home_agent: fa1}", "sla:", "gateways.gw7.sla.home_agent", "'fa1'",
        "is not a home agent",
    ),
    "a generated key at a static gateway": (  # G11
        NETWORK, "sla: {home_agent: ha3}", "sla: {home_agent: ha3, keys: generated}", "sla:", "gateways.gw7.sla.keys",
        "'generated'", "a static gateway cannot learn a generated key",
    ),
    "a static gateway that is signalled": (  # A2
        NETWORK, "roles: [static]", "roles: [static, pcn]", "gw7:", "gateways.gw7", "", "has no other role (A2)",
    ),
    "a static gateway without its SLA": (
        NETWORK, "    sla: {home_agent: ha3}\n", "", "gw7:", "gateways.gw7", "", "a static gateway needs its sla",
    ),
    "an SLA of a gateway that is not static": (
        NETWORK, "roles: [static]", "roles: [pcn]", "gw7:", "gateways.gw7", "",
        "an sla, and so static keying, is for static",
    ),
    "a role twice": (NETWORK, "roles: [ha]\n", "roles: [ha, ha]\n", "ha3:", "gateways.ha3", "", "names a role twice"),
    "an unknown role": (
        NETWORK, "roles: [ha]\n", "roles: [hag]\n", "hag", "gateways.ha3.roles[0]", "'hag'", "should be 'fa', 'ha'",
    ),
    "home networks of no home agent": (
        NETWORK, "roles: [ha]\n", "roles: [fa]\n", "ha3:", "gateways.ha3", "", "belong to a home agent",
    ),
    "an interface that is uplink and access": (
        NETWORK, "access: [lan]\n    home", "access: [wan]\n    home", "ha3:", "gateways.ha3", "",
        "names an interface twice",
    ),
    "an interface of ours": (
        NETWORK, "access: [lan]\n    home", "access: [rv-own0]\n    home", "ha3:", "gateways.ha3", "",
        "are roamvpn's own",
    ),
    "a number twice": (
        NETWORK, "number: 2,", "number: 1,", "fa2:", "gateways.fa2.number", "1", "is already the number of fa1",
    ),
    "a number of none": (NETWORK, "number: 2,", "number: 0,", "fa2:", "gateways.fa2.number", "0", "greater than"),
    "an address twice": (
        NETWORK, "192.0.2.2,", "192.0.2.1,", "fa2:", "gateways.fa2.address", "'192.0.2.1'",
        "is already the address of fa1",
    ),
    "a server's address twice": (
        NETWORK, "192.0.2.8}", "192.0.2.7}", "aaah8", "aaa_servers.aaah8.address", "'192.0.2.7'",
        "is already the address of gw7",
    ),
    "a server of an unknown domain": (
        NETWORK, "aaah8: {domain: isp3", "aaah8: {domain: isp9", "aaah8", "aaa_servers.aaah8.domain", "'isp9'",
        "is not a domain",
    ),
    "a server with a gateway's name": (
        NETWORK, "  aaah8:", "  fa1:", "fa1: {domain", "aaa_servers.fa1", "'fa1'", "is also the name of a gateway",
    ),
    "classes that exceed the uplink": (
        NETWORK, "{number: 6, domain: isp4, roles: [pcn], address: 192.0.2.6, uplink: {interface: wan, rate: 10mbit}",
        "{number: 6, domain: isp4, roles: [pcn], address: 192.0.2.6, uplink: {interface: wan, rate: 2mbit}", "pcn6",
        "gateways.pcn6.uplink.rate", "'2000 kbit/s'", "the classes' rates (3000 kbit/s in all) exceed this uplink",
    ),
    "a class called none": (NETWORK, "  af11: {", "  none: {", "none", "classes.none", "'none'", "for no class"),
    "a DSCP twice": (
        NETWORK, "AF11, rate", "EF, rate", "af11", "classes.af11.dscp", "46", "is already the DSCP of ef",
    ),
    "a DSCP that is none": (
        NETWORK, "AF11, rate", "AF44, rate", "af11", "classes.af11.dscp", "'AF44'", "must be a DSCP from 1 to 63",
    ),
    "a ceiling below the rate": (
        NETWORK, "ceil: 4mbit", "ceil: 1mbit", "ef:", "classes.ef.ceil", "'1000 kbit/s'", "is below the class's rate",
    ),
    "an unknown home agent of a subscriber": (
        NETWORK, "203.0.113.4, home_agent: ha3", "203.0.113.4, home_agent: ha9", "nai: dan",
        "subscribers[3].home_agent", "'ha9'", "is not a home agent",
    ),
    "a subscriber twice": (
        NETWORK, "nai: dan@isp3", "nai: cat@isp3", "203.0.113.4", "subscribers[3].nai", "'cat@isp3.example'",
        "is a subscriber already",
    ),
    "a home address twice": (
        NETWORK, "203.0.113.4", "203.0.113.3", "nai: dan", "subscribers[3].home_address", "'203.0.113.3'",
        "is already the address of cat@isp3.example",
    ),
    "a home address outside the home network": (
        NETWORK, "203.0.113.4", "203.0.112.4", "nai: dan", "subscribers[3].home_address", "'203.0.112.4'",
        "lies in no home network of ha3",
    ),
    "an unknown tenant": (
        NETWORK, "203.0.113.4, home_agent: ha3, tenant: acme", "203.0.113.4, home_agent: ha3, tenant: acme2",
        "nai: dan",
        "subscribers[3].tenant", "'acme2'", "is not a tenant",
    ),
    "a field that is not known": (
        NETWORK, "site: small\n", "site: small\nsiet: small\n", "siet", "siet", "", "Extra inputs are not permitted",
    ),
    "a field that is missing": (NETWORK, "    number: 3\n", "", "ha3:", "gateways.ha3.number", "", "Field required"),
    "a name in capitals": (NETWORK, "site: small", "site: Small", "Small", "site", "'Small'", "should match pattern"),
    "an ESP proposal without integrity": (
        NETWORK, "site: small\n", "site: small\nike: {esp_proposals: [aes256-x25519]}\n", "ike:", "ike", "",
        "neither an AEAD cipher nor an integrity algorithm",
    ),
    # cn_gw_table.yml
    "overlapping equal prefixes with different gateways": (  # B6
        CN_GW, "198.51.100.128/25", "198.51.100.0/24", "192.0.2.6", "cn_gw_table[3].cn", "'198.51.100.0/24'",
        "stands already, with the other gateway 192.0.2.5",
    ),
    "a row twice": (
        CN_GW, "198.51.100.128/25, gw_address: 192.0.2.6", "198.51.100.0/24, gw_address: 192.0.2.5", 5,
        "cn_gw_table[3].cn", "'198.51.100.0/24'", "stands twice",
    ),
    "a row to no gateway": (
        CN_GW, "192.0.2.6", "192.0.2.99", "192.0.2.99", "cn_gw_table[3].gw_address", "'192.0.2.99'",
        "is the address of no gateway",
    ),
    "a row that contradicts the gateway's role": (
        CN_GW, "gw_type: static", "gw_type: dynamic", "192.0.2.7", "cn_gw_table[0].gw_type", "'dynamic'",
        "contradicts network.yml: gw7 has no role pcn",
    ),
    "a row of an unknown tenant": (
        CN_GW, "tenant: globex", "tenant: globexx", "globexx", "cn_gw_table[1].tenant", "'globexx'", "is not a tenant",
    ),
    "a row with host bits": (
        CN_GW, "10.0.0.0/8", "10.0.0.1/8", "10.0.0.1/8", "cn_gw_table[0].cn", "'10.0.0.1/8'",
        "has host bits set; did you mean 10.0.0.0/8?",
    ),
    # vpn_database.yml
    "a destination wider than its CN-GW row": (  # G17
        DATABASE, "198.51.100.8/29", "198.51.0.0/16", "198.51.0.0/16", "vpn_database[4].destaddr", "'198.51.0.0/16'",
        "lies outside its CN-GW row 198.51.100.0/24; it is never widened or cut",
    ),
    "an unknown class": (
        DATABASE, "upclass: ef, downclass: af11", "upclass: gold, downclass: af11", "gold", "vpn_database[0].upclass",
        "'gold'", "is not a service class",
    ),
    "a profile number twice": (  # B1
        DATABASE, "profile_number: 2", "profile_number: 1", "198.51.100.9}", "vpn_database[1].profile_number", "1",
        "stands twice; it must be unique (B1)",
    ),
    "vpnshare=1 with a missing SPI": (  # B3
        DATABASE, ANN_SPIS, "up_spi: 0x1001}", ANN, "vpn_database[0]", "", "vpnshare=1 needs down_spi (B3)",
    ),
    "vpnshare=1 without classes and SPIs": (  # B3
        DATABASE, "profile_number: 2, nai: ann@isp3.example, vpnshare: 0",
        "profile_number: 2, nai: ann@isp3.example, vpnshare: 1",
        "198.51.100.9}", "vpn_database[1]", "", "vpnshare=1 needs upclass, downclass, up_spi, down_spi (B3)",
    ),
    "vpnshare that is neither": (  # B2
        DATABASE, "profile_number: 2, nai: ann@isp3.example, vpnshare: 0",
        "profile_number: 2, nai: ann@isp3.example, vpnshare: 2",
        "198.51.100.9}", "vpn_database[1].vpnshare", "2", "should be 0 or 1",
    ),
    "a reserved SPI": (
        DATABASE, "up_spi: 0x1001", "up_spi: 0xff", "0xff", "vpn_database[0].up_spi", "255",
        "an SPI below 0x100 is reserved (RFC 4303)",
    ),
    "an SPI that is too large": (
        DATABASE, "up_spi: 0x1001", "up_spi: 4294967296", "4294967296", "vpn_database[0].up_spi", "4294967296",
        "less than or equal to 4294967295",
    ),
    "a destination twice": (
        DATABASE, "198.51.100.8/29", "198.51.100.128/25", "profile_number: 5", "vpn_database[4].destaddr",
        "'198.51.100.128/25'", "profile 4 has this destination already",
    ),
    "a record of no subscriber": (
        DATABASE, "profile_number: 2, nai: ann@", "profile_number: 2, nai: eve@", "eve", "vpn_database[1].nai",
        "'eve@isp3.example'", "is not a subscriber",
    ),
    "an unknown security type": (
        DATABASE, "security: ah", "security: AH", "security: AH", "vpn_database[2].security", "'AH'",
        "should be 'esp', 'ah' or 'encapsulation'",
    ),
    # sessions.yml and policy_tests.yml
    "a session twice": (  # B10
        SESSIONS, "s-ben", "s-ann", "nai: ben", "sessions[1].session_id", "'s-ann'",
        "stands twice; it must be unique (B10)",
    ),
    "two sessions of a user": (
        SESSIONS, "nai: ben@", "nai: ann@", "s-ben", "sessions[1].nai", "'ann@isp3.example'", "has a session already",
    ),
    "a session of no subscriber": (
        SESSIONS, "nai: ben@", "nai: eve@", "s-ben", "sessions[1].nai", "'eve@isp3.example'", "is not a subscriber",
    ),
    "a session at no foreign agent": (
        SESSIONS, "nai: ben@isp3.example, foreign_agent: fa1", "nai: ben@isp3.example, foreign_agent: ha3", "s-ben",
        "sessions[1].foreign_agent", "'ha3'", "is not a foreign agent",
    ),
    "a policy test of no subscriber": (
        TESTS, "user: dan@", "user: eve@", "eve", "policy_tests[1].user", "'eve@isp3.example'", "is not a subscriber",
    ),
    "a policy test at no foreign agent": (
        TESTS, "dan@isp3.example, at: fa1", "dan@isp3.example, at: pcn5", "dan", "policy_tests[1].at", "'pcn5'",
        "is not a foreign agent",
    ),
}  # fmt: skip


def problems(files: dict[str, str]) -> tuple[Problem, ...]:
    try:
        load_site(files)
    except InputError as error:
        return error.problems
    return ()


def _line(text: str, word: str | int) -> int:
    if isinstance(word, int):
        return word
    (found,) = [number for number, line in enumerate(text.splitlines(), 1) if word in line]
    return found


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_contradiction_is_named_with_file_line_field_and_value(
    row: tuple[str, str, str, str | int, str, str, str],
) -> None:
    name, old, new, word, field, value, message = row
    edited = texts((name, old, new))
    found = problems(edited)
    place = (name, _line(edited[name], word), field, value)
    assert [
        message in each.message and each.severity == "error"
        for each in found
        if (each.file, each.line, each.field, each.value) == place
    ] == [True], found


def test_the_small_site_holds() -> None:
    assert problems(texts()) == ()
    assert load_site(texts()).warnings == ()


def test_a_missing_file_is_named() -> None:
    files = texts()
    del files[CN_GW], files[SESSIONS]
    assert [str(each) for each in problems(files)] == ["cn_gw_table.yml: this file is missing"]


def test_a_destination_without_a_row_is_a_warning_and_the_site_holds() -> None:  # G25
    loaded = load_site(texts((DATABASE, "destaddr: 198.51.100.9}", "destaddr: 192.0.2.250}")))
    (warning,) = loaded.warnings
    assert (warning.file, warning.line, warning.field) == (DATABASE, 4, "vpn_database[1].destaddr")
    assert warning.value == "'192.0.2.250/32'"
    assert "this profile is rejected, the others go on (G25)" in warning.message


def test_an_enterprise_serves_only_users_of_the_home_agent_it_has_its_sla_with() -> None:  # E1.1
    (found,) = problems(
        texts(
            (NETWORK, "203.0.113.1, home_agent: ha3", "203.0.114.1, home_agent: ha4"),
            (NETWORK, "address: 192.0.2.4,", "address: 192.0.2.4, home_networks: [203.0.114.0/24],"),
        )
    )
    assert (found.file, found.line, found.field, found.value) == (
        DATABASE,
        2,
        "vpn_database[0].destaddr",
        "'10.1.0.0/16'",
    )
    assert "gw7 has its SLA with ha3, but the user's home agent is ha4" in found.message


def test_tenants_may_have_the_same_private_range() -> None:  # B6
    edited = texts((CN_GW, "cn: 10.1.0.0/16, gw_address: 192.0.2.5", "cn: 10.0.0.0/8, gw_address: 192.0.2.5"))
    assert problems(edited) == ()


def test_encapsulation_only_must_be_allowed() -> None:
    (found,) = problems(texts((NETWORK, "allow_encapsulation_only: true\n", "")))
    assert (found.file, found.line, found.field) == (DATABASE, 7, "vpn_database[3].security")
    assert "sends in clear" in found.message


@pytest.mark.parametrize(
    ("new", "where", "other"),
    [
        # ann and dan both go to gw7 by way of ha3
        ("up_spi: 0x1001, down_spi: 0x2002", "up_spi", "profile 1 (up_spi)"),
        ("up_spi: 0x2001, down_spi: 0x1002", "down_spi", "profile 1 (down_spi)"),
        # ha3 receives ann's up and dan's down
        ("up_spi: 0x2001, down_spi: 0x1001", "down_spi", "profile 1 (up_spi)"),
        # one SPI for both directions: ha3 receives both
        ("up_spi: 0x2001, down_spi: 0x2001", "down_spi", "profile 6 (up_spi)"),
    ],
)
def test_spis_that_collide_at_one_receiver_are_refused(new: str, where: str, other: str) -> None:
    dan = f"""  - {{profile_number: 6, nai: dan@isp3.example, vpnshare: 1, destaddr: 10.2.0.0/16, {new},
     upclass: ef, downclass: ef}}
"""
    files = texts()
    files[DATABASE] += dan
    found = problems(files)
    assert {each.field for each in found} == {f"vpn_database[5].{where}"}
    assert {each.line for each in found} == {9}
    assert all("collides at its receiver" in each.message and other in each.message for each in found)


def test_an_spi_may_be_used_again_by_the_other_protocol_and_at_another_receiver() -> None:
    # ben's AH to pcn5 has the numbers of ann's ESP to gw7
    assert problems(texts((DATABASE, BEN_SPIS, "up_spi: 0x1001, down_spi: 0x1004, security: ah}"))) == ()


def test_down_spis_that_meet_at_one_foreign_agent_are_refused() -> None:
    edited = texts(
        (DATABASE, BEN_SPIS, "up_spi: 0x1003, down_spi: 0x1002}"),
    )
    (found,) = problems(edited)
    assert (found.file, found.line, found.field, found.value) == (SESSIONS, 3, "sessions[1].foreign_agent", "'fa1'")
    assert "down_spi 0x1002 of profile 3 collides there with profile 1" in found.message
    # at two foreign agents they do not meet
    edited[SESSIONS] = edited[SESSIONS].replace(
        "ben@isp3.example, foreign_agent: fa1", "ben@isp3.example, foreign_agent: fa2"
    )
    assert problems(edited) == ()


def test_a_shared_association_keyed_by_hand_needs_its_spis() -> None:
    edited = texts(
        (NETWORK, "sla: {home_agent: ha3}", "sla: {home_agent: ha3, keying: static}"),
        (
            DATABASE,
            "cat@isp3.example, vpnshare: 0, destaddr: 198.51.100.8/29",
            "dan@isp3.example, vpnshare: 0, destaddr: 10.2.0.0/16",
        ),
    )
    (found,) = problems(edited)
    assert (found.file, found.line, found.field, found.value) == (DATABASE, 8, "vpn_database[4].vpnshare", "0")
    assert "needs sla.up_spi and sla.down_spi of gw7" in found.message


def test_every_sla_association_in_use_needs_its_secret() -> None:
    files = texts()
    files[SECRETS] = f"site_key: {'0b' * 32}\nsla:\n  gw9: {{}}\n"
    found = {(each.line, each.field): each.message for each in problems(files)}
    assert found == {
        (3, "sla.gw9"): "is not a static gateway of this network",
        (2, "sla.gw7.profiles.1"): "the SLA of gw7 needs a psk here",
    }


def test_a_secret_that_does_not_hold_is_named_and_not_shown() -> None:
    files = texts()
    files[SECRETS] = "site_key: 5ec2e7\nsla: {gw7: {profiles: {1: {psk: deadbeefdeadbeef}}}}\n"
    found = problems(files)
    assert [(each.line, each.field) for each in found if "256 bits" in each.message or "128 bits" in each.message]
    assert not any("5ec2e7" in str(each) or "deadbeef" in str(each) for each in found)


def test_all_errors_of_all_files_are_reported_at_once() -> None:
    edits = [
        (NETWORK, "{number: 2, domain: isp2,", "{number: 1, domain: isp9,"),
        (NETWORK, "203.0.113.4", "203.0.112.4"),
        (NETWORK, "sla: {home_agent: ha3}", "sla: {home_agent: ha3, keys: generated}"),
        (NETWORK, "ceil: 4mbit", "ceil: 1mbit"),
        (CN_GW, "192.0.2.6", "192.0.2.99"),
        (CN_GW, "gw_type: static", "gw_type: dynamic"),
        (DATABASE, ANN_SPIS, "up_spi: 0x1001}"),
        (DATABASE, "profile_number: 4", "profile_number: 2"),
        (DATABASE, "downclass: ef", "downclass: gold"),
        (DATABASE, "198.51.100.8/29", "198.51.100.9/29"),
        (SESSIONS, "nai: dan@", "nai: eve@"),
        (SESSIONS, "s-ben", "s-ann"),
        (TESTS, "user: dan@", "user: eve@"),
    ]
    found = problems(texts(*edits))
    fields = {(each.file, each.field) for each in found}
    assert fields >= {
        (NETWORK, "gateways.fa2.number"),
        (NETWORK, "gateways.fa2.domain"),
        (NETWORK, "subscribers[3].home_address"),
        (NETWORK, "gateways.gw7.sla.keys"),
        (NETWORK, "classes.ef.ceil"),
        (CN_GW, "cn_gw_table[3].gw_address"),
        (CN_GW, "cn_gw_table[0].gw_type"),
        (DATABASE, "vpn_database[0]"),
        (DATABASE, "vpn_database[3].profile_number"),
        (DATABASE, "vpn_database[2].downclass"),
        (DATABASE, "vpn_database[4].destaddr"),
        (SESSIONS, "sessions[3].nai"),
        (SESSIONS, "sessions[1].session_id"),
        (TESTS, "policy_tests[1].user"),
    }
    # and nothing that is only the echo of another error
    assert len(found) == 14, found
    assert all(each.line for each in found)


def test_a_file_that_is_not_yaml_does_not_hide_the_others() -> None:
    found = problems(texts((SESSIONS, "sessions:\n", "sessions: [\n"), (NETWORK, "number: 2,", "number: 1,")))
    assert [each.file for each in found] == [NETWORK, SESSIONS]

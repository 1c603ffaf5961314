"""Field types: what they admit can stand in any file that we write."""

from __future__ import annotations

import pytest

from roamvpn.tables.types import (
    DSCP_NAMES,
    host_prefix,
    parse_address,
    parse_dscp,
    parse_nai,
    parse_prefix,
    parse_rate,
)


def test_a_destination_without_a_length_is_a_host() -> None:  # G17
    assert parse_prefix("10.5.1.9").text == "10.5.1.9/32"
    assert parse_prefix("10.5.1.9") == host_prefix("10.5.1.9")
    assert parse_prefix("0.0.0.0/0").text == "0.0.0.0/0"
    assert parse_prefix("10.5.0.0/16").address == "10.5.0.0"


@pytest.mark.parametrize(
    "text",
    [
        "10.5.0.0/33",
        "10.5.0.0/",
        "10.5.0.0/016",
        "10.5.0.0/-1",
        "10.5.0.0/255.255.0.0",
        "10.5.0",
        "10.5",
        "0x0a.5.0.0",
        "010.5.0.0",
        "10.5.0.0 ",
        " 10.5.0.0",
        "10.5.0.0\n",
        "10.5.0.0/1\uff16",
        "::/0",
        "",
        7,
        None,
        ["10.0.0.0"],
        True,
    ],
)
def test_what_is_no_prefix_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"must be an IPv4|has no prefix length"):
        parse_prefix(text)


def test_host_bits_are_not_cut_off_but_refused() -> None:  # G17
    with pytest.raises(ValueError, match=r"has host bits set; did you mean 10\.5\.0\.0/16\?"):
        parse_prefix("10.5.1.9/16")


def test_a_prefix_contains_what_lies_inside_it() -> None:
    net = parse_prefix("10.5.0.0/16")
    assert net.contains(net)
    assert net.contains(parse_prefix("10.5.255.255"))
    assert not net.contains(parse_prefix("10.4.0.0/15"))
    assert not net.contains(parse_prefix("10.6.0.0"))
    assert parse_prefix("0.0.0.0/0").contains(parse_prefix("255.255.255.255"))


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1"])  # noqa: S104 - an address to refuse
def test_a_gateway_has_a_unicast_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not a unicast address"):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["192.0.2", "192.0.2.1/32", "192.0.2.1\n", "192.0.2.256", "192.0.2.01", 3221225985, None]
)
def test_what_is_no_address_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be an IPv4 address"):
        parse_address(text)


@pytest.mark.parametrize(
    "nai", ["alice@isp3.example", "a.b+c@x.y", "$HOME@x.example", "`id`{}@x.example", "'or''='@x.y"]
)
def test_an_nai_may_have_all_that_rfc_4282_allows(nai: str) -> None:
    assert parse_nai(nai) == nai


def test_a_realm_is_compared_in_lower_case_and_a_user_as_he_is() -> None:
    assert parse_nai("Alice@ISP3.Example") == "Alice@isp3.example"


@pytest.mark.parametrize(
    "nai",
    [
        "alice",
        "alice@",
        "@isp3.example",
        "alice@isp3",
        "al ice@isp3.example",
        "alice@isp3.example\n",
        "alice\n@isp3.example",
        "al\x00ice@isp3.example",
        'al"ice@isp3.example',
        "a;b@isp3.example",
        "a@b@isp3.example",
        ".alice@isp3.example",
        "alice@-isp3.example",
        "alice@isp3..example",
        "\u0430lice@isp3.example",
        "alice@isp\uff13.example",
        "x" * 245 + "@isp3.example",
    ],
)
def test_what_is_no_nai_is_refused(nai: str) -> None:
    with pytest.raises(ValueError, match=r"must be an NAI|outside ASCII|is longer"):
        parse_nai(nai)


def test_a_look_alike_is_named_as_what_it_is() -> None:
    with pytest.raises(ValueError, match="has characters outside ASCII; write the realm in its xn-- form"):
        parse_nai("\u0430lice@isp3.example")


def test_a_hostile_nai_is_refused_in_linear_time() -> None:
    with pytest.raises(ValueError, match="is longer"):
        parse_nai("a." * 32_768 + "@")


def test_dscp_is_a_code_point_or_its_name() -> None:
    assert (parse_dscp("EF"), parse_dscp("af41"), parse_dscp(46), parse_dscp("CS7")) == (46, 34, 46, 56)
    assert DSCP_NAMES["AF11"] == 10
    assert DSCP_NAMES["AF43"] == 38


@pytest.mark.parametrize("value", [0, 64, -1, "BE", "CS0", "AF44", "46", True, None, "E F"])
def test_what_is_no_dscp_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be a DSCP from 1 to 63"):
        parse_dscp(value)


def test_rates_are_read_in_kbit() -> None:
    assert [parse_rate(text) for text in ("500kbit", "2mbit", "1gbit")] == [500, 2000, 1_000_000]


@pytest.mark.parametrize("value", ["2", "2 mbit", "2Mbit", "0kbit", "7kbit", "2000gbit", "-1mbit", "2mbit\n", 5, None])
def test_what_is_no_rate_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be a rate"):
        parse_rate(value)

"""Contradictions within and between the tables: each named with file, line, field and value, and all at once."""

from __future__ import annotations

import pytest

from roamvpn.tables.problems import Problem
from tests.sites import problems, site, texts

NETWORK, CN_GW, DATABASE = "network.yml", "cn_gw_table.yml", "vpn_database.yml"
SESSIONS, TESTS, SECRETS = "sessions.yml", "policy_tests.yml", "secrets.yml"
ANN = "{profile_number: 1, nai: ann@isp3.example, vpnshare: 1, destaddr: 10.1.0.0/16, upclass: ef, downclass: af11,"
ANN_SPIS = "up_spi: 0x1001, down_spi: 0x1002}"
BEN_SPIS = "up_spi: 0x1003, down_spi: 0x1004, security: ah}"

# file, old, new, a word of the line that is complained about, field, value, part of the message
ROWS = {
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
        NETWORK, "roles: [static]", "roles: [pcn]", "gw7:", "gateways.gw7", "", "are for static gateways|is for static",
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
    "a number twice": (
        NETWORK, "number: 2,", "number: 1,", "fa2:", "gateways.fa2.number", "'1'", "is already the number of fa1",
    ),
    "a number of none": (NETWORK, "number: 2,", "number: 0,", "fa2:", "gateways.fa2.number", "'0'", "greater than"),
    "an address twice": (
        NETWORK, "192.0.2.2,", "192.0.2.1,", "fa2:", "gateways.fa2.address", "'192.0.2.1'", "is already the address of fa1",
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
    "a class called none": (NETWORK, "  af11: {", "  none: {", "none", "classes.none", "'none'", "the word for no class"),
    "a DSCP twice": (
        NETWORK, "AF11, rate", "EF, rate", "af11", "classes.af11.dscp", "'46'", "is already the DSCP of ef",
    ),
    "a DSCP that is none": (
        NETWORK, "AF11, rate", "AF44, rate", "af11", "classes.af11.dscp", "'AF44'", "must be a DSCP from 1 to 63",
    ),
    "a ceiling below the rate": (
        NETWORK, "ceil: 4mbit", "ceil: 1mbit", "ef:", "classes.ef.ceil", "'1000 kbit/s'", "is below the class's rate",
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
        NETWORK, "203.0.113.4, home_agent: ha3, tenant: acme", "203.0.113.4, home_agent: ha3, tenant: acme2", "nai: dan",
        "subscribers[3].tenant", "'acme2'", "is not a tenant",
    ),
    "a field that is not known": (
        NETWORK, "site: small\n", "site: small\nsiet: small\n", "siet", "siet", "", "Extra inputs are not permitted",
    ),
    "a field that is missing": (NETWORK, "    number: 3\n", "", "ha3:", "gateways.ha3.number", "", "Field required"),
    "a name in capitals": (NETWORK, "site: small", "site: Small", "site", "site", "'Small'", "should match pattern"),
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
        CN_GW, "198.51.100.128/25, gw_address: 192.0.2.6", "198.51.100.0/24, gw_address: 192.0.2.5", "128/25|@5",
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
    "a destination outside its CN-GW row": (  # G17
        DATABASE, "10.1.0.0/16", "0.0.0.0/5", "0.0.0.0/5", "vpn_database[0].destaddr", "'0.0.0.0/5'",
        "has no CN-GW row|",
    ),
    "a destination wider than its CN-GW row": (  # G17
        DATABASE, "198.51.100.8/29", "198.51.0.0/16", "198.51.0.0/16", "vpn_database[4].destaddr", "'198.51.0.0/16'",
        "lies outside its CN-GW row 198.51.100.0/24; it is never widened or cut",
    ),
    "an unknown class": (
        DATABASE, "upclass: ef, downclass: af11", "upclass: gold, downclass: af11", "gold", "vpn_database[0].upclass",
        "'gold'", "is not a service class",
    ),
    "a profile number twice": (  # B1
        DATABASE, "profile_number: 2", "profile_number: 1", "198.51.100.9}", "vpn_database[1].profile_number", "'1'",
        "stands twice; it must be unique (B1)",
    ),
    "vpnshare=1 with a missing SPI": (  # B3
        DATABASE, ANN_SPIS, "up_spi: 0x1001}", ANN, "vpn_database[0]", "", "vpnshare=1 needs down_spi (B3)",
    ),
    "vpnshare=1 without classes and SPIs": (  # B3
        DATABASE, "profile_number: 2, nai: ann@isp3.example, vpnshare: 0", "profile_number: 2, nai: ann@isp3.example, vpnshare: 1",
        "198.51.100.9}", "vpn_database[1]", "", "vpnshare=1 needs upclass, downclass, up_spi, down_spi (B3)",
    ),
    "vpnshare that is neither": (  # B2
        DATABASE, "profile_number: 2, nai: ann@isp3.example, vpnshare: 0", "profile_number: 2, nai: ann@isp3.example, vpnshare: 2",
        "198.51.100.9}", "vpn_database[1].vpnshare", "'2'", "should be 0 or 1",
    ),
    "a reserved SPI": (
        DATABASE, "up_spi: 0x1001", "up_spi: 0xff", "0xff", "vpn_database[0].up_spi", "'255'",
        "an SPI below 0x100 is reserved (RFC 4303)",
    ),
    "an SPI that is too large": (
        DATABASE, "up_spi: 0x1001", "up_spi: 4294967296", "4294967296", "vpn_database[0].up_spi", "'4294967296'",
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
    "a static gateway whose SLA is with another home agent": (
        NETWORK, "203.0.113.1, home_agent: ha3", "203.0.113.1, home_agent: ha4", "203.0.113.1",
        "subscribers[0].home_address", "'203.0.113.1'", "lies in no home network of ha4",
    ),
    # sessions.yml and policy_tests.yml
    "a session twice": (  # B10
        SESSIONS, "s-ben", "s-ann", "nai: ben", "sessions[1].session_id", "'s-ann'", "stands twice; it must be unique (B10)",
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

"""A small site as text: where the line of a problem matters, tests edit text and not data."""

from __future__ import annotations

NETWORK = """\
site: small
tenants: [acme, globex]
classes:
  ef: {dscp: EF, rate: 2mbit, ceil: 4mbit}
  af11: {dscp: AF11, rate: 1mbit}
allow_encapsulation_only: true
domains:
  isp2: {realm: isp2.example, title: visited}
  isp3: {realm: isp3.example}
  isp4: {realm: isp4.example}
  firm: {realm: firm.example}
gateways:
  fa1: {number: 1, domain: isp2, roles: [fa], address: 192.0.2.1, uplink: {interface: wan, rate: 10mbit}, access: [lan]}
  fa2: {number: 2, domain: isp2, roles: [fa], address: 192.0.2.2, uplink: {interface: wan, rate: 10mbit}, access: [lan]}
  ha3:
    number: 3
    domain: isp3
    roles: [ha]
    address: 192.0.2.3
    uplink: {interface: wan, rate: 10mbit}
    access: [lan]
    home_networks: [203.0.113.0/24]
  ha4: {number: 4, domain: isp3, roles: [ha], address: 192.0.2.4, uplink: {interface: wan, rate: 10mbit}}
  pcn5: {number: 5, domain: isp4, roles: [pcn], address: 192.0.2.5, uplink: {interface: wan, rate: 10mbit}}
  pcn6: {number: 6, domain: isp4, roles: [pcn], address: 192.0.2.6, uplink: {interface: wan, rate: 10mbit}}
  gw7:
    number: 7
    domain: firm
    roles: [static]
    address: 192.0.2.7
    uplink: {interface: wan, rate: 10mbit}
    access: [lan]
    sla: {home_agent: ha3}
aaa_servers:
  aaah8: {domain: isp3, role: home, address: 192.0.2.8}
subscribers:
  - {nai: ann@isp3.example, home_address: 203.0.113.1, home_agent: ha3, tenant: acme}
  - {nai: ben@isp3.example, home_address: 203.0.113.2, home_agent: ha3, tenant: globex}
  - {nai: cat@isp3.example, home_address: 203.0.113.3, home_agent: ha3}
  - {nai: dan@isp3.example, home_address: 203.0.113.4, home_agent: ha3, tenant: acme}
"""
CN_GW = """\
cn_gw_table:
  - {cn: 10.0.0.0/8, gw_address: 192.0.2.7, gw_type: static, tenant: acme}
  - {cn: 10.1.0.0/16, gw_address: 192.0.2.5, gw_type: dynamic, tenant: globex}
  - {cn: 198.51.100.0/24, gw_address: 192.0.2.5, gw_type: dynamic}
  - {cn: 198.51.100.128/25, gw_address: 192.0.2.6, gw_type: dynamic}
"""
# ann has one of each kind of route; dan none at all
DATABASE = """\
vpn_database:
  - {profile_number: 1, nai: ann@isp3.example, vpnshare: 1, destaddr: 10.1.0.0/16, upclass: ef, downclass: af11,
     up_spi: 0x1001, down_spi: 0x1002}
  - {profile_number: 2, nai: ann@isp3.example, vpnshare: 0, destaddr: 198.51.100.9}
  - {profile_number: 3, nai: ben@isp3.example, vpnshare: 1, destaddr: 10.1.2.3, upclass: none, downclass: ef,
     up_spi: 0x1003, down_spi: 0x1004, security: ah}
  - {profile_number: 4, nai: cat@isp3.example, vpnshare: 0, destaddr: 198.51.100.128/25, security: encapsulation}
  - {profile_number: 5, nai: cat@isp3.example, vpnshare: 0, destaddr: 198.51.100.8/29, downclass: af11}
"""
SESSIONS = """\
sessions:
  - {session_id: s-ann, nai: ann@isp3.example, foreign_agent: fa1}
  - {session_id: s-ben, nai: ben@isp3.example, foreign_agent: fa1}
  - {session_id: s-cat, nai: cat@isp3.example, foreign_agent: fa2}
  - {session_id: s-dan, nai: dan@isp3.example, foreign_agent: fa2}
"""
POLICY_TESTS = """\
policy_tests:
  - {user: ann@isp3.example, at: fa1, to: 10.1.2.3, expect: {path: [fa1, ha3, gw7], share: own, upclass: ef}}
  - {user: dan@isp3.example, at: fa1, to: 10.1.2.3, expect: none}
"""
_TEXTS = {
    "network.yml": NETWORK,
    "cn_gw_table.yml": CN_GW,
    "vpn_database.yml": DATABASE,
    "sessions.yml": SESSIONS,
    "policy_tests.yml": POLICY_TESTS,
}


def texts(*edits: tuple[str, str, str]) -> dict[str, str]:
    """The site's files after `(file, old, new)` edits, each of which must find its text just once."""
    found = dict(_TEXTS)
    for name, old, new in edits:
        assert found[name].count(old) == 1, f"{old!r} stands {found[name].count(old)} times in {name}"
        found[name] = found[name].replace(old, new)
    return found

"""What a gateway's state renders to: every combination of A9, secrets apart from all else, the same bytes each time."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest

from roamvpn.render.swanctl import load
from roamvpn.tables.types import GwType, Keying, Security, Share
from tests.documents import Documents
from tests.one_vpn import MATRIX, SITE_KEY, Vpn, documents, side, texts, with_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from roamvpn.plan.sides import RenderedSide

_HEX = re.compile(r"[0-9a-f]{32,}", re.IGNORECASE)


def _built(vpn: Vpn) -> RenderedSide:
    return side(with_secrets(documents(vpn)).site())


@pytest.fixture(scope="module")
def example() -> RenderedSide:
    return side(with_secrets(Documents()).site())


def _lines(text: str, kind: str) -> list[str]:
    """The `ip` or `tc` lines of a unit file, in the order of their numbers."""
    (unit,) = _section(load(text), "roamvpn").values()
    assert isinstance(unit, dict)
    lines = unit.get(kind, {})
    assert isinstance(lines, dict)
    return [str(lines[key]) for key in sorted(lines, key=int)]


def _section(tree: object, *path: str) -> dict[str, object]:
    for step in path:
        assert isinstance(tree, dict)
        tree = tree[step]
    assert isinstance(tree, dict)
    return tree


@pytest.mark.parametrize("vpn", MATRIX, ids=str)
def test_every_combination_renders_and_parses(vpn: Vpn) -> None:  # A9
    files = texts(_built(vpn))
    legs = {path for path in files if "/legs/" in path}
    ends = {"fa21", "ha31", "gw51"} if vpn.route is GwType.STATIC else {"fa21", "pcn41"}
    assert {path.partition("/")[0] for path in legs} == ends
    for path, text in files.items():
        if path.endswith(".conf") and path.count("/") == 3:
            tree = load(text)
            assert set(tree) <= {"connections", "roamvpn", "secrets"}
    for path in legs:
        (line,) = [line for line in _lines(files[path], "tc") if "skbedit mark" in line]
        # D15 with S224: a class marks, none leaves the TOS alone; either names the device
        assert ("dsfield set 184 retain 0xfc" in line) == (vpn.service == "ef")
        assert re.search(r"action skbedit mark \d+$", line)


@pytest.mark.parametrize("vpn", MATRIX, ids=str)
def test_each_association_has_one_connection_at_either_end(vpn: Vpn) -> None:
    files = texts(_built(vpn))
    pairs: dict[frozenset[str], list[dict[str, object]]] = {}
    for path, text in files.items():
        tree = load(text) if path.endswith(".conf") and path.count("/") == 3 else {}
        for connection in _section(tree, "connections").values() if "connections" in tree else ():
            assert isinstance(connection, dict)
            (child,) = _section(connection, "children").values()
            assert isinstance(child, dict)
            assert ("ah_proposals" in child) == (vpn.security is Security.AH)
            assert ("esp_proposals" in child) == (vpn.security is Security.ESP)
            ends = frozenset((str(connection["local_addrs"]), str(connection["remote_addrs"])))
            pairs.setdefault(ends, []).append(connection)
    segments = {"192.0.2.21 192.0.2.31", "192.0.2.31 192.0.2.51"}
    if vpn.route is GwType.DYNAMIC:
        segments = {"192.0.2.21 192.0.2.41"}
    if vpn.keying is Keying.STATIC:
        segments = {"192.0.2.21 192.0.2.31"}
    assert set(pairs) == {frozenset(pair.split()) for pair in segments} if vpn.associated else pairs == {}
    for connections in pairs.values():
        one, other = connections
        # what one end sends the other expects, names and selectors alike
        assert _section(one, "local")["id"] == _section(other, "remote")["id"]
        assert _section(one, "remote")["id"] == _section(other, "local")["id"]
        (a,), (b,) = _section(one, "children").values(), _section(other, "children").values()
        assert isinstance(a, dict)
        assert isinstance(b, dict)
        assert (a["local_ts"], a["remote_ts"]) == (b["remote_ts"], b["local_ts"])


def test_users_own_selectors_are_his_alone_and_shared_ones_are_open() -> None:
    for share, wanted in ((Share.OWN, "203.0.113.5/32"), (Share.SHARED, "0.0.0.0/0")):
        files = texts(_built(Vpn(route=GwType.DYNAMIC, share=share)))
        (text,) = [text for path, text in files.items() if path.startswith("fa21/") and "esp_proposals" in text]
        (connection,) = _section(load(text), "connections").values()
        (child,) = _section(connection, "children").values()
        assert isinstance(child, dict)
        assert child["local_ts"] == wanted


@pytest.mark.parametrize("security", [Security.ESP, Security.AH], ids=str)
@pytest.mark.parametrize("share", Share, ids=str)
def test_keys_set_by_hand_give_states_and_policies_that_fit_each_other(security: Security, share: Share) -> None:
    files = texts(_built(Vpn(security, share=share, keying=Keying.STATIC)))
    units = [path for path in files if path.startswith(("ha31/base/", "gw51/")) and path.count("/") == 3]
    states: dict[str, list[str]] = {"ha31": [], "gw51": []}
    policies: dict[str, list[str]] = {"ha31": [], "gw51": []}
    units += [path for path in files if path.startswith("ha31/session/") and "gw51" in path]
    for path in units:
        gateway = path.partition("/")[0]
        for line in _lines(files[path], "ip"):
            if line.startswith("xfrm state"):
                assert "/secrets/" in path
                states[gateway].append(line)
            if line.startswith("xfrm policy"):
                policies[gateway].append(line)
    up, down = ("4097", "4098") if share is Share.OWN else ("8193", "8194")

    def fields(line: str) -> tuple[str, ...]:
        words = line.split()
        return tuple(words[words.index(name) + 1] for name in ("src", "dst", "proto", "spi", "reqid"))

    wanted = {
        ("192.0.2.31", "192.0.2.51", str(security), up, up),
        ("192.0.2.51", "192.0.2.31", str(security), down, down),
    }
    for gateway in ("ha31", "gw51"):
        assert {fields(line) for line in states[gateway]} == wanted
        assert [line.split()[line.split().index("dir") + 1] for line in policies[gateway]] == ["out", "in", "fwd"]
    # the same keys at both ends, another in each direction; the interface is each end's own matter
    bare = {gateway: sorted(re.sub(r"if_id \d+", "", line) for line in lines) for gateway, lines in states.items()}
    assert bare["ha31"] == bare["gw51"]
    keys = [word for line in bare["ha31"] for word in line.split() if word.startswith("0x") and len(word) > 32]
    assert len(keys) == len(set(keys)) == (4 if security is Security.ESP else 2)
    # G11: no IKEv2 on that segment
    assert not any("connections" in load(files[path]) for path in units)


def _secret_words(rendered: RenderedSide) -> Iterator[str]:
    for state in rendered.fleet.states.values():
        for keys in state.secrets.values():
            for key in (
                keys.psk,
                keys.up_esp_encryption,
                keys.down_esp_encryption,
                keys.up_authentication,
                keys.down_authentication,
            ):
                if key is not None:
                    yield key.hex()


@pytest.mark.parametrize("vpn", [Vpn(), Vpn(keying=Keying.STATIC), Vpn(Security.AH, share=Share.SHARED)], ids=str)
def test_key_material_stands_in_secrets_files_only(vpn: Vpn) -> None:
    rendered = _built(vpn)
    material = {*_secret_words(rendered), SITE_KEY.hex()}
    assert len(material) > 1
    for path, text in texts(rendered).items():
        if "/secrets/" in path:
            assert any(word in text for word in material)
            assert SITE_KEY.hex() not in text
        else:
            assert not any(word in text for word in material)
            assert not _HEX.search(text)


def test_secrets_are_private_and_nothing_else_is(example: RenderedSide) -> None:
    for gateway in example.gateways():
        for path, artefact in example.artefacts(gateway).items():
            assert artefact.secret == ("/secrets/" in path)
            assert artefact.mode == (0o600 if artefact.secret else 0o644)


def test_every_secret_belongs_to_the_two_ends_of_its_connection(example: RenderedSide) -> None:
    for path, text in texts(example).items():
        if "/secrets/" not in path:
            continue
        (secret,) = _section(load(text), "secrets").values()
        assert isinstance(secret, dict)
        leg, peer = path.replace("/secrets/", "/legs/"), path.replace("/secrets/", "/peers/")
        unit = texts(example).get(leg) or texts(example)[peer]
        (connection,) = _section(load(unit), "connections").values()
        assert secret["id-1"] == _section(connection, "local")["id"]
        assert secret["id-2"] == _section(connection, "remote")["id"]
        assert _section(connection, "local")["auth"] == "psk"


def test_gateways_of_a_shared_association_use_certificates_unless_an_sla_says_otherwise(example: RenderedSide) -> None:
    files = texts(example)
    (managed,) = _section(load(files["fa21/session/peers/rv-e-pcn41.conf"]), "connections").values()
    (agreed,) = _section(load(files["gw51/base/peers/rv-e-ha31.conf"]), "connections").values()
    assert _section(managed, "local") == {"auth": "pubkey", "certs": "fa21.pem", "id": "fa21.isp2.example"}
    assert _section(agreed, "local")["auth"] == "psk"


def test_the_same_site_gives_the_same_bytes() -> None:
    one, other = (with_secrets(Documents()) for _ in range(2))
    for rows in (other.records, other.rows, other.sessions, other.network["subscribers"]):
        random.Random(5).shuffle(rows)  # noqa: S311 - the same order in each run
    other.network["gateways"] = dict(reversed(other.network["gateways"].items()))
    other.network["classes"] = dict(reversed(other.network["classes"].items()))
    first, second = side(one.site()), side(other.site())
    assert texts(first) == texts(second) == texts(side(with_secrets(Documents()).site()))
    for gateway in first.gateways():
        assert dict(first.sources(gateway)) == dict(second.sources(gateway))


def test_a_file_whose_content_changes_has_another_digest() -> None:
    changes: dict[str, Callable[[Documents], object]] = {
        "class": lambda d: d.network["classes"]["ef"].update(dscp="CS5"),
        "rate": lambda d: d.network["classes"]["ef"].update(rate="3mbit"),
        "mtu": lambda d: d.network.update(tunnel_mtu=1300),
        "ike": lambda d: d.network.update(ike={"rekey_time": "8h"}),
        "address": lambda d: (
            d.gateway("pcn41").update(address="192.0.2.99"),
            d.rows[1].update(gw_address="192.0.2.99"),
        ),
        "number": lambda d: d.gateway("ha31").update(number=3131),
        "uplink": lambda d: d.gateway("fa21")["uplink"].update(interface="eth7"),
        "access": lambda d: d.gateway("fa21").update(access=["lan", "lan2"]),
        "realm": lambda d: d.network["domains"]["isp4"].update(realm="isp9.example"),
        "home": lambda d: d.network["subscribers"][0].update(home_address="203.0.113.77"),
        "spi": lambda d: d.record(1).update(up_spi=0x7777),
        "security": lambda d: d.record(1).update(security="ah"),
        "share": lambda d: d.record(2).update(vpnshare=1, upclass="ef", downclass="ef", up_spi=0x7001, down_spi=0x7002),
        "session": lambda d: d.sessions[0].update(session_id="s-other"),
        "generation": lambda d: d.sessions[0].update(generation=1),
        "secret": lambda d: (d.secrets or {})["sla"]["gw51"]["shared"].update(psk="ab" * 32),
    }
    before = side(with_secrets(Documents()).site())
    old = texts(before)
    for name, change in changes.items():
        changed = with_secrets(Documents())
        change(changed)
        after = side(changed.site())
        new = texts(after)
        assert new != old, name
        for path in old.keys() & new.keys():
            gateway, _, rest = path.partition("/")
            same = before.sources(gateway)[rest] == after.sources(gateway)[rest]
            assert not same or old[path] == new[path], f"{name}: {path} changed unnoticed"


def test_commands_are_words(example: RenderedSide) -> None:
    for path, text in texts(example).items():
        if path.endswith(".conf") and path.count("/") == 3:
            lines = [line for kind in ("ip", "tc") for line in (_lines(text, kind) if "roamvpn" in load(text) else ())]
        elif path.endswith((".ip", ".tc")):
            lines = [line for line in text.splitlines() if not line.startswith("#")]
        else:
            continue
        for line in lines:
            assert re.fullmatch(r"[a-z]+( [A-Za-z0-9_./:()-]+)+", line), f"{path}: {line}"


def test_a_device_fails_closed_before_it_exists(example: RenderedSide) -> None:
    for path, text in texts(example).items():
        if "/peers/" in path:
            lines = _lines(text, "ip")
        elif path.endswith("links.ip"):
            lines = text.splitlines()
        else:
            continue
        for number, line in enumerate(lines):
            if line.startswith("link add"):
                mark = next(each.split()[-1] for each in lines[number:] if each.startswith("route replace default"))
                refusals = [each for each in lines[:number] if each.startswith("route replace prohibit")]
                assert any(each.endswith(f"table {mark}") for each in refusals)


def test_just_the_foreign_agent_routes_to_its_visitor(example: RenderedSide) -> None:  # A5
    for path, text in texts(example).items():
        if "/legs/" in path:
            routes = [line for line in _lines(text, "ip") if "table 400000" in line]
            assert len(routes) == (1 if path.startswith("fa") else 0), path

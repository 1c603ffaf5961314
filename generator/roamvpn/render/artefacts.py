"""Which files a gateway state stands for, and their bytes.

An `Artefact` names a file and carries the digest of everything that it is made from, so that an
unchanged file is known as unchanged without being rendered.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.policy import naming
from roamvpn.policy.keys import fingerprint
from roamvpn.render import swanctl
from roamvpn.render.environment import Comment, environments
from roamvpn.tables.gateway_state import Leg, Peer, Unit
from roamvpn.tables.records import NO_CLASS
from roamvpn.tables.types import Keying, Role, Security

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import Environment, Template

    from roamvpn.tables.gateway_state import GatewayState
    from roamvpn.tables.network import Network
    from roamvpn.tables.secrets import ProfileKeys

PUBLIC_MODE, SECRET_MODE = 0o644, 0o600
_BASE_FILES = ("swanctl.conf", "base/strongswan.conf", "base/sysctl.conf", "base/links.ip", "base/qos.tc")


class Artefact(NamedTuple):
    """One file of a gateway: `source` changes with its content, `unit` names what it is made from."""

    path: str
    source: str
    secret: bool
    unit: str | None

    @property
    def mode(self) -> int:
        """Permission bits."""
        return SECRET_MODE if self.secret else PUBLIC_MODE


class Renderer:
    """Renders gateway states of one network with one set of templates."""

    def __init__(self, network: Network, templates: Mapping[str, str], fingerprint_key: bytes | None = None) -> None:
        """`templates` are texts by name; `fingerprint_key` names secrets without telling them."""
        self._network = network
        self.agents = frozenset(name for name, gateway in network.gateways.items() if gateway.agent)
        self.key = fingerprint_key or b""
        self._files, self._commands = environments(templates)
        whole = blake2b(digest_size=16)
        for name, text in sorted(templates.items()):
            whole.update(f"{name}\x00{text}\x00".encode())
        whole.update(repr((network.ike, network.tunnel_mtu)).encode())
        self._settings = whole.digest()
        self._gateway_sources = {
            name: repr((gateway, sorted(network.classes.items()))).encode()
            for name, gateway in network.gateways.items()
        }
        ike = network.ike.model_dump(mode="python")
        self._context: dict[str, object] = {
            "ike": ike,
            "mtu": network.tunnel_mtu,
            "block": naming.INGRESS_BLOCK,
            "uplink_block": naming.UPLINK_BLOCK,
            "device_rule": naming.DEVICE_RULE,
            "visitors_rule": naming.VISITORS_RULE,
            "visitors_table": naming.VISITORS_TABLE,
            "unreachable_metric": naming.UNREACHABLE_METRIC,
        }
        self._file_template: Callable[[str], Template] = cache(_globals(self._files, self._context))
        self._command_template: Callable[[str], Template] = cache(_globals(self._commands, self._context))

    def artefacts(self, state: GatewayState) -> dict[str, Artefact]:
        """Every file of the gateway, by path. Costs a digest a unit and renders nothing."""
        settings = self._settings
        base = blake2b(settings + self._gateway_sources[state.gateway], digest_size=16).hexdigest()
        found = {path: Artefact(path, base, secret=False, unit=None) for path in _BASE_FILES}
        for kind, units in (("peers", state.peers), ("legs", state.legs)):
            for name, unit in units.items():
                path = f"{unit.owner}/{kind}/{name}.conf"
                source = unit.digest(settings)
                found[path] = Artefact(path, source, secret=False, unit=name)
        for name, keys in state.secrets.items():
            unit = state.legs.get(name) or state.peers[name]
            path = f"{unit.owner}/secrets/{name}.conf"
            of_unit = found[f"{unit.owner}/{'legs' if name in state.legs else 'peers'}/{name}.conf"].source
            found[path] = Artefact(path, self._secret_source(of_unit, keys), secret=True, unit=name)
        return found

    def render(self, state: GatewayState, artefact: Artefact) -> bytes:
        """The file's content."""
        return self.text(state, artefact).encode()

    def text(self, state: GatewayState, artefact: Artefact) -> str:
        """The file's content as text."""
        if artefact.unit is None:
            return self._base(state.gateway, artefact.path)
        unit = state.legs.get(artefact.unit) or state.peers[artefact.unit]
        if artefact.secret:
            return self._secrets(unit, state.secrets[artefact.unit])
        return self._leg(unit) if isinstance(unit, Leg) else self._peer(unit)

    def _leg(self, leg: Leg) -> str:
        how = f"{leg.share} {leg.security}" if leg.security is not Security.ENCAPSULATION else "encapsulation only"
        what = "hand-off of profile" if leg.hand_off else "profile"
        title = f"{what} {leg.profile_number} of {leg.nai}: {leg.gateway} -> {leg.peer}, {how}"
        subtitle = f"{leg.source} -> {leg.destination}, class {leg.service_class or NO_CLASS} ({leg.direction})"
        context = {
            "unit": leg,
            "title": Comment(naming.comment(title)),
            "subtitle": Comment(naming.comment(subtitle)),
            "ip": self._lines("iproute2/leg.j2", leg) if leg.visitor or leg.keying is Keying.STATIC else (),
            "tc": self._lines("tc/leg.j2", leg),
        }
        if not leg.has_association or leg.keying is Keying.STATIC:
            return self._file_template("swanctl/filter.conf.j2").render(context)
        context["local_id"] = naming.leg_identity(leg.flow, leg.gateway)
        context["peer_id"] = naming.leg_identity(leg.flow, leg.peer)
        return self._file_template("swanctl/own.conf.j2").render(context)

    def _peer(self, peer: Peer) -> str:
        title = f"{peer.gateway} -> {peer.peer}: " + (
            f"shared {peer.security}" if peer.associated else "encapsulation only"
        )
        keying = (
            "keys set by hand (SLA)"
            if peer.keying is Keying.STATIC
            else "PSK of the SLA"
            if peer.sla
            else "certificates"
        )
        subtitle = f"{peer.device}, {keying if peer.associated else 'no association'}"
        context = {
            "unit": peer,
            "title": Comment(naming.comment(title)),
            "subtitle": Comment(naming.comment(subtitle)),
            "ip": self._lines("iproute2/peer.j2", peer),
            "tc": self._lines("tc/peer.j2", peer),
        }
        name = "shared" if peer.sla is None else "sla"
        if not peer.associated or peer.keying is Keying.STATIC:
            name = "filter"
        return self._file_template(f"swanctl/{name}.conf.j2").render(context)

    def _base(self, gateway: str, path: str) -> str:
        node = self._network.gateways[gateway]
        managed = Role.STATIC not in node.roles
        own = [naming.own_device(generation) for generation in ((0, 1) if managed else (0,))]
        leaves = sorted(self._network.classes.values(), key=lambda service: -service.dscp)
        total = sum(service.rate for service in leaves)
        context = {
            "title": Comment(naming.comment(f"{gateway} of site {self._network.site}, rendered by roamvpn")),
            "own_devices": own,
            "visitors": Role.FA in node.roles,
            "uplink": node.uplink.interface,
            "rate": node.uplink.rate,
            "rest": max(node.uplink.rate - total, 8),
            "quantum": _quantum(node.uplink.rate),
            "classes": [
                {
                    "dscp": service.dscp,
                    "classid": f"{0x100 + service.dscp:x}",
                    "rate": service.rate,
                    "quantum": _quantum(service.rate),
                    "ceil": service.ceil or node.uplink.rate,
                }
                for service in leaves
            ],
            "ingress": [*node.access, *(device for device, _ in own)],
            "interfaces": ["all", "default", node.uplink.interface, *node.access],
        }
        source = path if path.startswith("base/") and path.endswith(".conf") else f"base/{path}"
        if path.endswith(".ip"):
            return self._command_template("iproute2/links.ip.j2").render(context)
        if path.endswith(".tc"):
            return self._command_template("tc/qos.tc.j2").render(context)
        if path.endswith("sysctl.conf"):
            return self._command_template(f"{source}.j2").render(context)
        return self._file_template(f"{source}.j2").render(context)

    def _lines(self, template: str, unit: Unit) -> list[str]:
        text = self._command_template(template).render(unit=unit)
        return [line for line in text.split("\n") if line]

    def _secret_source(self, of_unit: str, keys: ProfileKeys) -> str:
        """What a secret file is made from: its unit, for names and addresses, and the keys."""
        encryption = (keys.up_esp_encryption, keys.down_esp_encryption)
        authentication = (keys.up_authentication, keys.down_authentication)
        material = b"/".join(part or b"" for part in (keys.psk, *encryption, *authentication))
        # the digest stands in manifests and plans, so it is keyed: an SLA's PSK may be weak
        return fingerprint(self.key, of_unit.encode() + material)

    def _secrets(self, unit: Unit, keys: ProfileKeys) -> str:
        title = f"# secret of {unit.name}\n"
        if unit.keying is Keying.STATIC:
            return title + swanctl.dump({"roamvpn": {unit.name: {"ip": self._states(unit, keys)}}})
        if isinstance(unit, Leg):
            ids = naming.leg_identity(unit.flow, unit.gateway), naming.leg_identity(unit.flow, unit.peer)
        else:
            ids = unit.local_identity, unit.peer_identity
        entry = {"id-1": ids[0], "id-2": ids[1], "secret": f"0x{(keys.psk or b'').hex()}"}
        return title + swanctl.dump({"secrets": {f"ike-{unit.name}": entry}})

    def _states(self, unit: Unit, keys: ProfileKeys) -> dict[str, object]:
        """xfrm states of both directions; `out` is up where this end sends up."""
        up = unit.direction == "up"
        upward = (keys.up_esp_encryption, keys.up_authentication)
        downward = (keys.down_esp_encryption, keys.down_authentication)
        out, back = (upward, downward) if up else (downward, upward)
        here, there = unit.local_address, unit.peer_address
        rows = [
            _association(unit, here, there, unit.out_spi, out),
            _association(unit, there, here, unit.in_spi, back),
        ]
        template = self._command_template("iproute2/xfrm-state.j2")
        text = template.render(associations=rows, mark=unit.mark)
        return {str(index): line for index, line in enumerate((line for line in text.split("\n") if line), 1)}


def _quantum(rate: int) -> int:
    """Bytes an HTB class sends in its turn: 10 ms at its rate (kbit/s), within what the kernel takes calmly."""
    return min(max(rate * 125 // 100, 1514), 60_000)


def _association(
    unit: Unit, source: str, destination: str, spi: int, keys: tuple[bytes | None, bytes | None]
) -> dict[str, object]:
    encryption, authentication = keys
    return {
        "security": unit.security.value,
        "source": source,
        "destination": destination,
        "spi": spi,
        "encryption": f"0x{(encryption or b'').hex()}",
        "authentication": f"0x{(authentication or b'').hex()}",
    }


def _globals(environment: Environment, context: dict[str, object]) -> Callable[[str], Template]:
    def get(name: str) -> Template:
        return environment.get_template(name, globals=context)

    return get

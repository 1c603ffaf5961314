"""Sites with one VPN of one user, over every combination of A9; and what they render to."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from roamvpn.plan.sides import RenderedSide
from roamvpn.policy.compile import compile_fleet
from roamvpn.policy.keys import KeyGenerator, derived
from roamvpn.render.artefacts import Renderer
from roamvpn.stores.templates import templates
from roamvpn.tables.checks import check_secrets
from roamvpn.tables.secrets import Secrets, SlaKeys
from roamvpn.tables.types import GwType, Keying, Security, Share
from tests.documents import Documents

if TYPE_CHECKING:
    from roamvpn.tables.site import Site

SITE_KEY = bytes(range(32))


class Vpn(NamedTuple):
    """One combination: `keying` is that of the SLA, of a static destination."""

    security: Security = Security.ESP
    route: GwType = GwType.STATIC
    share: Share = Share.OWN
    service: str = "ef"
    keying: Keying = Keying.IKE

    def __str__(self) -> str:
        """`own esp, static, ef`."""
        hand = " keyed by hand" if self.keying is Keying.STATIC else ""
        return f"{self.share} {self.security}{hand}, {self.route}, {self.service}"

    @property
    def associated(self) -> bool:
        """Whether there is a security association at all."""
        return self.security is not Security.ENCAPSULATION


MATRIX = [
    Vpn(*each)
    for each in product(Security, GwType, Share, ("ef", "none"), Keying)
    if not (each[1] is GwType.DYNAMIC and each[4] is Keying.STATIC)
]
"""A9, and keying by hand where an SLA allows it."""


def documents(vpn: Vpn) -> Documents:
    """The example network with alice's one VPN; she is at fa21."""
    found = Documents()
    found.sessions = [{"session_id": "s-alice", "nai": "alice@isp3.example", "foreign_agent": "fa21"}]
    found.records = [
        {
            "profile_number": 1,
            "nai": "alice@isp3.example",
            "vpnshare": int(vpn.share is Share.OWN),
            "destaddr": "10.5.0.0/16" if vpn.route is GwType.STATIC else "198.51.100.0/25",
            "upclass": vpn.service,
            "downclass": vpn.service,
            "up_spi": 0x1001,
            "down_spi": 0x1002,
            "security": str(vpn.security),
        }
    ]
    if vpn.keying is Keying.STATIC:
        found.gateway("gw51")["sla"] |= {"keying": "static", "up_spi": 0x2001, "down_spi": 0x2002}
    return found


def with_secrets(found: Documents) -> Documents:
    """The documents with the keys that their SLAs need, the same in each run."""
    data: dict[str, dict[str, object]] = {}
    draw = KeyGenerator(derived(SITE_KEY))
    tables = found.site().tables
    for finding in check_secrets(Secrets.model_validate({"site_key": SITE_KEY.hex()}), tables):
        node: dict[str, object] = data.setdefault("sla", {})
        for step in map(str, finding.path[1:]):
            child = node.setdefault(step, {})
            assert isinstance(child, dict)
            node = child
        sla = tables.gateway(str(finding.path[1])).sla
        assert sla is not None
        keys = SlaKeys.of(draw.keys(str(finding.path), sla.keying))
        node.update({name: value.hex() for name, value in keys if value is not None})
    found.secrets = {"site_key": SITE_KEY.hex(), **data}
    return found


def side(site: Site) -> RenderedSide:
    """The compiled fleet, ready to render."""
    fleet = compile_fleet(site.tables, site.sessions, site.secrets, derived(SITE_KEY))
    return RenderedSide(Renderer(site.tables.network, templates(), SITE_KEY), fleet)


def texts(rendered: RenderedSide) -> dict[str, str]:
    """Every file of the fleet by `gateway/path`."""
    return {
        f"{gateway}/{path}": rendered.text(gateway, path) or ""
        for gateway in rendered.gateways()
        for path in rendered.sources(gateway)
    }

"""What an agent is given: the network without its subscribers, and the keys that it needs and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import yaml

from roamvpn.policy.keys import derived
from roamvpn.policy.mobility_keys import (
    Verifier,
    agents_key,
    agents_spi,
    mobile_key,
    mobile_spi,
    mobiles_root,
)
from roamvpn.signalling.directory import Directory
from roamvpn.tables.checks import NETWORK
from roamvpn.tables.problems import RoamvpnError
from roamvpn.tables.types import Role
from roamvpn.wire.diameter_identities import Identities

if TYPE_CHECKING:
    from roamvpn.policy.keys import Entropy
    from roamvpn.tables.network import Network
    from roamvpn.tables.site import Site

PLACE = "/etc/roamvpn"
CREDENTIALS = "/etc/swanctl"


class File(NamedTuple):
    """A file's content and whether only its owner may read it."""

    text: str
    secret: bool = False


def agent_files(site: Site, name: str, **settings: object) -> dict[str, File]:
    """An agent's files by name: `agent.yml`, `network.yml`, `mobility.yml`. `settings` go into the first.

    Raises:
        RoamvpnError: where the gateway has no agent (A2), or the site has no secrets.
    """
    network = site.tables.network
    gateway = network.gateways.get(name)
    if gateway is None or Role.STATIC in gateway.roles:
        raise RoamvpnError(f"{name}: is no gateway with an agent")
    config = {
        "name": name,
        "network": f"{PLACE}/network.yml",
        "keys": f"{PLACE}/mobility.yml",
        "diameter": {"peers": _servers(network, name), "tls": _tls(name)},
        **settings,
    }
    return {
        "agent.yml": File(_yaml(config)),
        "network.yml": File(network_text(site)),
        "mobility.yml": File(_yaml(_keyring(network, name, _entropy(site))), secret=True),
    }


def network_text(site: Site) -> str:
    """`network.yml` without subscribers: who is whose customer is the home AAA server's affair."""
    data = site.sources[NETWORK].parse()
    known = data if isinstance(data, dict) else {}
    return _yaml({key: value for key, value in known.items() if key not in ("subscribers", "tenants")})


def server_files(site: Site, name: str, **settings: object) -> dict[str, File]:
    """An AAA server's `aaa.yml`, and a home one's `mobiles.yml`; its site, or the network alone, lies in `site`.

    Raises:
        RoamvpnError: for what is no AAA server.
    """
    network = site.tables.network
    server = network.aaa_servers.get(name)
    if server is None:
        raise RoamvpnError(f"{name}: is no AAA server")
    config = {
        "name": name,
        "site": f"{PLACE}/site",
        "diameter": {
            "peers": _peers(network, name),
            "tls": _tls(name),
            "listen": [{"host": server.address}],
        },
        **settings,
    }
    if server.role != "home":
        return {"aaa.yml": File(_yaml(config))}
    # with it mobiles' own authenticators are verified (RFC 4721)
    keys = {"mobiles": mobiles_root(_entropy(site), Verifier.AAAH, name).hex()}
    return {
        "aaa.yml": File(_yaml({"keys": f"{PLACE}/mobiles.yml", **config})),
        "mobiles.yml": File(_yaml(keys), secret=True),
    }


def mobile_keys(site: Site, nai: str) -> File:
    """A mobile's own keys file, with its home agent and its AAAH (RFC 5944, RFC 4721)."""
    user = site.tables.subscribers.get(nai)
    if user is None:
        raise RoamvpnError(f"{nai!a:.80}: is no subscriber")
    entropy = _entropy(site)
    home = Directory(site.tables.network).aaah_of(nai)
    rows = {Verifier.HOME_AGENT: user.home_agent, **({Verifier.AAAH: home.name} if home is not None else {})}
    keys = {
        str(verifier): {"spi": mobile_spi(verifier), "key": mobile_key(mobiles_root(entropy, verifier, who), nai).hex()}
        for verifier, who in rows.items()
    }
    return File(_yaml(keys), secret=True)


def _servers(network: Network, name: str) -> list[dict[str, object]]:
    """The AAA servers of an agent's domain; where there is none, every home one."""
    identities = Identities(network)
    domain = network.gateways[name].domain
    near = [server for server, found in sorted(network.aaa_servers.items()) if found.domain == domain]
    homes = [server for server, found in sorted(network.aaa_servers.items()) if found.role == "home"]
    return [
        {"identity": identities.of(server), "host": network.aaa_servers[server].address, "routes": ["*"]}
        for server in near or homes
    ]


def _peers(network: Network, name: str) -> list[dict[str, object]]:
    """Who connects to an AAA server, and which home ones it connects to."""
    identities = Identities(network)
    here = network.aaa_servers[name]
    signalled = {other for other, gateway in network.gateways.items() if Role.STATIC not in gateway.roles}
    mine = {other for other in signalled if network.gateways[other].domain == here.domain}
    served = {found.domain for found in network.aaa_servers.values()}
    if here.role == "home":
        # agents of domains without a server of their own come straight here
        mine |= {other for other in signalled if network.gateways[other].domain not in served}
        mine |= {other for other in network.aaa_servers if other != name}
        return [{"identity": identities.of(other)} for other in sorted(mine)]
    homes = {other: found for other, found in network.aaa_servers.items() if found.role == "home"}
    found: list[dict[str, object]] = [{"identity": identities.of(other)} for other in sorted(mine)]
    for other, server in sorted(homes.items()):
        realm = network.domains[server.domain].realm
        found.append({"identity": identities.of(other), "host": server.address, "routes": [realm]})
    return found


def _tls(name: str) -> dict[str, object]:
    """Agents are known by the certificates that their gateways' associations use."""
    return {
        "certificate": f"{CREDENTIALS}/x509/{name}.pem",
        "key": f"{CREDENTIALS}/private/{name}.pem",
        "ca": f"{CREDENTIALS}/x509ca/roamvpn.pem",
    }


def _keyring(network: Network, name: str, entropy: Entropy) -> dict[str, object]:
    signalled = [other for other, gateway in sorted(network.gateways.items()) if Role.STATIC not in gateway.roles]
    found: dict[str, object] = {
        "associations": {
            other: {"spi": agents_spi(name, other), "key": agents_key(entropy, name, other).hex()}
            for other in signalled
            if other != name
        }
    }
    if Role.HA in network.gateways[name].roles:
        found["mobiles"] = mobiles_root(entropy, Verifier.HOME_AGENT, name).hex()
    return found


def _entropy(site: Site) -> Entropy:
    if site.secrets is None:
        raise RoamvpnError("the site has no secrets; `roamvpn secrets` makes them")
    return derived(bytes(site.secrets.site_key))


def _yaml(data: object) -> str:
    return yaml.safe_dump(data, sort_keys=True, default_flow_style=False)

"""AMRs a second through an AAAH: decoded, decided, kept on disk, HAR and HAA, and the AMA encoded; on one core.

    python -m benchmarks.bench_diameter [--quick]

The AAAH runs in a process of its own on one core; a relay and a home agent on another. Half of the users have a dynamic
VPN, half a static one. `first` are registrations of users without a session: the database is searched, keys are drawn.
`move` are those of the same users from another domain. As root, freeDiameter relays the same AMRs, and answers as
long as those, in a network namespace. Prints a table; exits 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.diameter_load import Answerer, Asker, HomeAgent
from roamvpn.aaa.config import Setup
from roamvpn.aaa.daemon import AaaDaemon, keep_tables
from roamvpn.daemon.logs import configure
from roamvpn.signalling.messages import Ama, Amr, Code, RegRep, RegReq, Result
from roamvpn.stores.templates import example_site
from roamvpn.tables.network import Network
from roamvpn.wire.diameter import DiameterCodec

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE, RELAY, HOME_AGENT = "aaah33.isp3.example", "aaaf23.isp2.example", "ha31.isp3.example"
OTHER_RELAY, FREEDIAMETER = "aaaf23b.isp2b.example", "relay.transit.example"
PORT = 13868
_START_S = 30
_WINDOW = 64


def nai(number: int) -> str:
    """A user's name."""
    return f"user{number}@isp3.example"


def site(directory: Path, users: int) -> None:
    """The example network with so many users."""
    example = example_site()
    network = yaml.safe_load((example / "network.yml").read_text())
    records = []
    network["subscribers"] = [
        {
            "nai": nai(number),
            "home_address": f"203.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "home_agent": "ha31",
        }
        for number in range(1, users + 1)
    ]
    network["gateways"]["ha31"]["home_networks"] = ["203.0.0.0/8"]
    for number in range(1, users + 1):
        destination = "10.5.1.9" if number % 2 else "198.51.100.9"
        records.append(
            {"profile_number": number, "nai": nai(number), "vpnshare": 1, "destaddr": destination, "upclass": "ef",
             "downclass": "af41", "up_spi": 0x1000 + 2 * number, "down_spi": 0x1001 + 2 * number}
        )  # fmt: skip
    rows = [
        {"cn": "10.5.1.0/24", "gw_address": "192.0.2.51", "gw_type": "static"},
        {"cn": "198.51.100.0/24", "gw_address": "192.0.2.42", "gw_type": "dynamic"},
    ]
    documents: dict[str, object] = {
        "network.yml": network,
        "vpn_database.yml": {"vpn_database": records},
        "cn_gw_table.yml": {"cn_gw_table": rows},
    }
    for name, document in documents.items():
        (directory / name).write_text(yaml.dump(document, Dumper=yaml.CSafeDumper))


def requests(network: Network, users: int, relay: str, agent: str, seq: int) -> Iterator[bytes]:
    """One AMR of each user, with end-to-end identifiers of its own."""
    codec = DiameterCodec(network, relay)
    for number in range(1, users + 1):
        request = RegReq(nai(number), seq, "ha31", 60, packet=bytes(range(100)))
        yield codec.request(Amr(nai(number), seq, agent, request, relay), "aaah33", seq << 24 | number)


# the AAAH


async def serve(directory: Path, *, durable: bool) -> None:
    """Until the other end of standard input is closed."""
    peers = [{"identity": each, "tls": False} for each in (RELAY, OTHER_RELAY, HOME_AGENT)]
    listen = [{"host": "127.0.0.1", "port": 0, "tls": False}]
    document = {
        "name": "aaah33", "site": str(directory), "state": str(directory / "state"), "run": str(directory / "run"),
        "diameter": {"peers": peers, "listen": listen}, "durable": durable, "signalling": {"request_timeout": 60},
    }  # fmt: skip
    path = directory / "aaa.yml"
    path.write_text(yaml.safe_dump(document))
    daemon = AaaDaemon(Setup.read(path))
    await daemon.start()
    keep_tables()
    print(daemon.diameter.node.ports[0], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await daemon.stop()


async def drive(directory: Path, users: int, port: int, server: int) -> list[dict[str, Any]]:
    """All users register, then all of them move; `server` is the process whose time counts."""
    network = Network.model_validate(yaml.safe_load((directory / "network.yml").read_text()))
    loop = asyncio.get_running_loop()
    agent, relay, other = HomeAgent(HOME_AGENT), Asker(RELAY), Asker(OTHER_RELAY)
    for each in (agent, relay, other):
        await loop.create_connection(lambda wire=each: wire, "127.0.0.1", port)  # type: ignore[misc]
        await each.open.wait()
    found = []
    first = list(requests(network, users, "aaaf23", "fa21", 1))
    found.append(await timed("first", relay, first, _WINDOW, server))
    moved = list(requests(network, users, "aaaf23b", "fa22", 2))
    found.append(await timed("move", other, moved, _WINDOW, server))
    alone = list(requests(network, users // 10, "aaaf23", "fa21", 3))
    found.append(await timed("move, one at a time", relay, alone, 1, server))
    for each in (agent, relay, other):
        each.close()
    return found


async def timed(what: str, asker: Asker, messages: list[bytes], window: int, server: int) -> dict[str, Any]:
    """A row of the table; times in milliseconds. The server's own time is what it would take on an idle machine."""
    before = busy(server)
    took = await asker.run(messages, window)
    worked = busy(server) - before
    parts = quantiles(asker.took, n=100)
    return {
        "what": what, "count": len(asker.took), "rate": len(asker.took) / took, "p50": parts[49] * 1000,
        "p99": parts[98] * 1000, "refused": asker.refused, "core": len(asker.took) / max(worked, 1e-9),
    }  # fmt: skip


def busy(process: int) -> float:
    """Seconds of processor time that it has used, in user and kernel."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# freeDiameter


async def relay_through_freediameter(directory: Path, users: int) -> list[dict[str, Any]]:
    """The same AMRs, relayed to somebody who answers at once; in a network namespace with a bridge."""
    network = Network.model_validate(yaml.safe_load((directory / "network.yml").read_text()))
    codec = DiameterCodec(network, "aaah33")
    loop = asyncio.get_running_loop()
    all_requests = list(requests(network, users, "aaaf23", "fa21", 1))
    sample = codec.decode(all_requests[0])
    assert isinstance(sample, Amr)
    reply = RegRep(sample.nai, sample.seq, Code.ACCEPTED, 60, packet=bytes(400))
    ama = Ama(sample.nai, sample.seq, sample.origin, Result.SUCCESS, None, (), reply, 3600)
    answer = codec.answer(ama, codec.asked(all_requests[0]))
    answerers: asyncio.Queue[Answerer] = asyncio.Queue()

    def answerer() -> Answerer:
        found = Answerer(HERE, lambda _raw: answer)
        answerers.put_nowait(found)
        return found

    server = await loop.create_server(answerer, "10.9.0.3", 3868)
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(max(os.sched_getaffinity(0))), "freeDiameterd", "-c", str(_configuration(directory)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_START_S):
            asker = await _connected(answerers)
            return [await timed("freeDiameter relays AMR and AMA", asker, all_requests, _WINDOW, process.pid)]
    finally:
        process.terminate()
        await process.wait()
        server.close()


async def _connected(answerers: asyncio.Queue[Answerer]) -> Asker:
    answerer = await answerers.get()
    await answerer.open.wait()
    asker = Asker(RELAY)
    await asyncio.get_running_loop().create_connection(lambda: asker, "10.9.0.2", PORT)
    await asker.open.wait()
    return asker


def _bridge() -> None:
    addresses = [f"addr add 10.9.0.{number}/24 dev br0" for number in (1, 2, 3)]
    for command in ("link set lo up", "link add br0 type bridge", "link set br0 up", *addresses):
        subprocess.run([_tool("ip"), *command.split()], check=True)


def _tool(name: str) -> str:
    """Where it is; raises FileNotFoundError."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(name)
    return found


def _configuration(directory: Path) -> Path:
    subprocess.run(
        [_tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", f"/CN={FREEDIAMETER}", "-keyout", directory / "fd.key", "-out", directory / "fd.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (directory / "acl.conf").write_text(f"ALLOW_IPSEC ALLOW_OLD_TLS {RELAY}\n")
    (directory / "rt.conf").write_text(f'dr="isp3.example" : "{HERE}" += 50 ;\n')
    path = directory / "fd.conf"
    path.write_text(
        f'Identity = "{FREEDIAMETER}";\nRealm = "transit.example";\nPort = {PORT};\nSecPort = 0;\nNo_SCTP;\nNo_IPv6;\n'
        f'ListenOn = "10.9.0.2";\nTLS_Cred = "{directory}/fd.pem", "{directory}/fd.key";\n'
        f'TLS_CA = "{directory}/fd.pem";\nTLS_DH_Bits = 1024;\nTcTimer = 5;\nTwTimer = 6;\n'
        f'LoadExtension = "acl_wl.fdx" : "{directory}/acl.conf";\n'
        f'LoadExtension = "rt_default.fdx" : "{directory}/rt.conf";\n'
        f'ConnectPeer = "{HERE}" {{ ConnectTo = "10.9.0.3"; No_TLS; Port = 3868; }};\n'
    )
    return path


# the parent


def measured(directory: Path, users: int, *, durable: bool) -> list[dict[str, Any]]:
    """An AAAH with an empty store, and its load."""
    shutil.rmtree(directory / "state", ignore_errors=True)
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "benchmarks.bench_diameter", "--serve", str(directory)]
    with subprocess.Popen(
        [_tool("taskset"), "-c", str(cores[-1]), *command, *(["--durable"] if durable else [])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        found = asyncio.run(drive(directory, users, port, process.pid))
        process.stdin.close()
        process.wait(20)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", type=Path)
    parser.add_argument("--durable", action="store_true")
    parser.add_argument("--relay", type=Path)
    options = parser.parse_args()
    configure("error")
    users = 500 if options.quick else 10_000
    if options.serve is not None:
        asyncio.run(serve(options.serve, durable=options.durable))
        return
    if options.relay is not None:
        _bridge()
        print(json.dumps(asyncio.run(relay_through_freediameter(options.relay, users))))
        return
    table = Table(f"{users} users", "AMR", "AMR/s", "AMR a core-second", "p50 ms", "p99 ms", "refused", box=None)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        site(directory, users)
        rows = []
        for durable in (True, False):
            label = "synced to disk" if durable else "outlives the process"
            rows += [{**row, "what": f"{row['what']} ({label})"} for row in measured(directory, users, durable=durable)]
        if not os.geteuid() and shutil.which("freeDiameterd"):
            command = [sys.executable, "-m", "benchmarks.bench_diameter", "--relay", name]
            more = ["--quick"] if options.quick else []
            done = subprocess.run([_tool("unshare"), "-n", *command, *more], capture_output=True, text=True, check=True)
            rows += json.loads(done.stdout)
    for row in rows:
        table.add_row(
            row["what"], str(row["count"]), f"{row['rate']:,.0f}", f"{row['core']:,.0f}", f"{row['p50']:.2f}",
            f"{row['p99']:.2f}", str(row["refused"]),
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

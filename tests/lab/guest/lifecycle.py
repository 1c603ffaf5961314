"""What playbooks do with gateways, over SSH: from bare hosts to the running network, through changes and accidents."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.lab.guest import network
from tests.lab.guest.controller import Controller, Played
from tests.lab.guest.probes import ping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.guest.hosts import Host

_GRACE = """
  - {profile_number: 11, nai: grace@isp3.example, vpnshare: 1, destaddr: 198.51.100.7, upclass: ef, downclass: af41,
     up_spi: 0x3001, down_spi: 0x3002}
"""
_JUDY = "destaddr: 10.5.2.0/24\n    security: ah"
_JUDY_AF41, _JUDY_EF = ((_JUDY, f"{_JUDY}\n    upclass: {name}") for name in ("af41", "ef"))
_SECOND_WAY = "203.0.113.150"
"""Another address of fa21, by which its controller reaches it, and which somebody then gives to a user."""


class Wrong(Exception):  # noqa: N818 - what is wrong, in a sentence
    """What a step found wrong."""


def _see(holds: bool, otherwise: object) -> None:
    if not holds:
        raise Wrong(str(otherwise)[-6000:])


class Lifecycle:
    """Steps by name; each leaves the network whole for the next."""

    def __init__(self, hosts: dict[str, Host], controller: Controller, note: Callable[[str], None]) -> None:
        self.hosts = hosts
        self.controller = controller
        self.site = controller.site
        self._note = note
        self._said: list[str] = []
        self.played: dict[str, str] = {}
        """Output of every run, by its number and command."""
        self._seen: set[bytes] = set()
        self._forwarding = next(iter(hosts.values())).read("/proc/sys/net/ipv4/ip_forward").strip()

    def run(self, names: tuple[str, ...]) -> dict[str, str]:
        """Results by step."""
        # a step's docstring is its name
        steps = {step.__doc__: getattr(self, name) for name, step in vars(type(self)).items() if callable(step)}
        found = {}
        for name in names:
            try:
                steps[name]()
                found[name] = ""
            except Wrong as wrong:
                found[name] = str(wrong)
            except Exception:  # noqa: BLE001 - a step that breaks has failed, with its traceback
                found[name] = traceback.format_exc()
            self._note(f"{name}: {found[name][-300:] or 'ok'}")
        return found

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _play(self, name: str, *arguments: str, code: int | None = 0, controller: Controller | None = None) -> Played:
        started = time.monotonic()
        played = (controller or self.controller).play(name, *arguments)
        self._said.append(played.text)
        # what pages of the documentation show comes from here
        title = f"ansible-playbook roamvpn.gateway.{name} {shlex.join(arguments)}".rstrip()
        self.played[f"{len(self._said):02} {title}"] = played.text
        (Path(os.environ["VM_OUT"]) / f"played-{len(self._said):02}-{name}.txt").write_text(f"{title}\n{played.text}")
        self._note(f"    {name} {' '.join(arguments)} -> {played.code}, {time.monotonic() - started:.0f} s")
        if code is not None:
            _see(played.code == code, f"{name} {arguments}: exit {played.code}, not {code}\n{played.text}")
        return played

    def _generation(self, host: str) -> str | None:
        digest = json.loads(self.hosts[host].gateway("status"))["digest"]
        return None if digest is None else str(digest)

    def _generations(self) -> dict[str, str | None]:
        return {name: self._generation(name) for name in self.hosts}

    def _associations(self, host: str) -> dict[str, int]:
        """Bytes by SPI."""
        text = self.hosts[host].run("ip", "-s", "xfrm", "state", "list")
        found = {}
        for block in re.split(r"\n(?=src )", text):
            spi = re.search(r"spi (0x[0-9a-f]+)", block)
            count = re.search(r"lifetime current:\n\s+(\d+)\(bytes\)", block)
            if spi and count:
                found[spi[1]] = int(count[1])
        return found

    @contextmanager
    def _edited(self, name: str, old: str, new: str) -> Iterator[None]:
        """A site file changed for a while."""
        path = self.site / name
        text = path.read_text()
        _see(old in text, f"{old} is not in {name}")
        path.write_text(text.replace(old, new))
        try:
            yield
        finally:
            path.write_text(text)

    def _append(self, name: str, text: str) -> None:
        path = self.site / name
        path.write_text(path.read_text().rstrip("\n") + text)

    def _log(self, host: str) -> str:
        return self.hosts[host].run("tail", "-n", "60", "/var/log/charon.log")

    def _await(self, what: str, holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            _see(time.monotonic() < deadline, f"after {seconds} s still not: {what}")
            time.sleep(0.02)  # files and links of another mount namespace: nothing tells of them

    def _pending(self, host: str) -> bool:
        return (self.hosts[host].base / "var.up/lib/roamvpn/pending.json").exists()

    def _secrets(self) -> set[str]:
        """Every secret of the site and of the gateways, as digits."""
        found = set(re.findall(r"\b[0-9a-f]{64}\b", (self.site / "secrets.yml").read_text()))
        for path in (self.site / ".roamvpn").glob("deployed/*/*/secrets/*.conf"):
            found |= set(re.findall(r"0x([0-9a-f]{32,})", path.read_text()))
        return found

    @contextmanager
    def _watching_processes(self) -> Iterator[None]:
        """Command lines of all processes, looked at over and over."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.5):
                for path in Path("/proc").glob("[0-9]*/cmdline"):
                    with suppress(OSError):
                        self._seen.add(path.read_bytes())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _grace_reaches(self) -> bool:
        return ping("grace", "203.0.113.11", "198.51.100.7")

    # -- bare hosts -------------------------------------------------------------------------------------------------

    def check_mode(self) -> None:
        """site --check on a bare host changes nothing"""
        played = self._play("site", "--check", "--diff", "--limit", "fa21")
        _see("+    local_addrs = 192.0.2.21" in played.text, f"no diff\n{played.text}")
        _see("<secret " in played.text, "secrets are not shown as fingerprints")
        said = self.hosts["fa21"].run("find", "/usr/local/sbin", "/var/lib/roamvpn", "/etc/strongswan.d", check=False)
        _see("roamvpn-gateway" not in said and "roamvpn.conf" not in said, said)

    def from_bare(self) -> None:
        """site brings bare hosts to the running network"""
        with self._watching_processes():
            played = self._play("site", "-vvv", "-e", "roamvpn_canary=ha31")
        _see(played.changed == sorted(self.hosts), f"changed: {played.changed}")
        for name in self.hosts:
            text = "".join(path.read_text() for path in (self.site / ".roamvpn/deployed" / name).glob("*/*/*.conf"))
            asked = set(re.findall(r"^  (rv-\S+) \{\n    version", text, re.MULTILINE))
            listed = set(re.findall(r"^(rv-\S+):", self.hosts[name].swanctl("--list-conns"), re.MULTILINE))
            _see(asked == listed, f"{name}: {asked} {listed}")
        network.batch("cn41", "ip", ["addr add 198.51.100.7/25 dev e0"])

    def second_run(self) -> None:
        """a second run changes nothing"""
        played = self._play("site")
        _see(played.changed == [] and "no changes" in played.text, played.text)
        played = self._play("plan")
        _see("no changes" in played.text, played.text)

    def verified(self) -> None:
        """verify finds nothing"""
        self._play("verify")

    def no_secret_shown(self) -> None:
        """no secret is shown at -vvv, in ps, in logs or in results"""
        secrets = self._secrets()
        _see(len(secrets) > 5, "there are no secrets to look for")
        logs = [host.read("/var/log/charon.log") for host in self.hosts.values()]
        places = {
            "output": "\n".join(self._said),
            "processes": b"\n".join(self._seen).decode(errors="replace"),
            "logs": "\n".join(logs),
        }
        _see("roamvpn-gateway" in places["processes"], "no command line was seen")
        for place, text in places.items():
            shown = [secret[:6] for secret in secrets if secret in text.lower()]
            _see(not shown, f"{place}: {shown}")
            _see("PRIVATE KEY-----" not in text, f"a private key in {place}")
        keys = {name: host.run("cat", f"/etc/swanctl/private/{name}.pem") for name, host in self.hosts.items()}
        _see(len(set(keys.values())) == len(keys), "private keys are not different")
        for path in (path for path in self.site.rglob("*") if path.is_file()):
            text = path.read_text(errors="replace")
            _see(not any(key.splitlines()[1] in text for key in keys.values()), f"{path} has a gateway's private key")
        for name, host in self.hosts.items():
            others = self._foreign_secrets(name)
            held = host.run("grep", "-rhoE", "[0-9a-f]{32,}", "/var/lib/roamvpn/current/", check=False).split()
            _see(not others & set(held), f"{name} holds secrets of others")

    def _foreign_secrets(self, name: str) -> set[str]:
        def of(host: str) -> set[str]:
            paths = (self.site / ".roamvpn/deployed" / host).glob("*/secrets/*.conf")
            return {digits for path in paths for digits in re.findall(r"0x([0-9a-f]{32,})", path.read_text())}

        return set().union(*(of(other) for other in self.hosts if other != name)) - of(name)

    # -- reviews ----------------------------------------------------------------------------------------------------

    def drift(self) -> None:
        """verify lists what was taken away by hand, object by object"""
        # links were deleted by what was tried before; more is done here
        fa21 = self.hosts["fa21"]
        fa21.run("ip", "link", "add", "rv-stray", "type", "dummy")
        fa21.run("tc", "filter", "delete", "block", "5222", "protocol", "ip", "pref", "10016", "handle", "5", "flower")
        fa21.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
        fa21.run("sh", "-c", "echo '# edited' >> /var/lib/roamvpn/current/base/qos.tc")
        played = self._play("verify", code=2)
        for line in (
            "link rv-stray foreign",
            "filter block 5222 pref 10016 handle 5 missing",
            "sysctl net/ipv4/ip_forward changed",
            "file base/qos.tc changed",
            "link rv-i42 missing",
            "link rv-own0 missing",
        ):
            _see(line in played.text, f"not listed: {line}\n{played.text}")
        _see(played.counts("gw51")["failed"] == 0, "gw51 differs, too")

    def repaired(self) -> None:
        """site repairs what was changed by hand"""
        self._play("site", "-e", "roamvpn_everything=true", "-e", "roamvpn_serial=100%")
        self._play("verify")
        _see(ping("alice", "203.0.113.5", "10.5.1.9"), "alice is not served again")

    def other_system(self) -> None:
        """another system than Debian is refused, and nothing is changed"""
        fa22, before = self.hosts["fa22"], self._generation("fa22")
        fa22.run("cp", "--remove-destination", "/usr/lib/os-release", "/etc/os-release")
        fa22.run("sed", "-i", "s/Debian GNU.Linux/Fedora Linux/; s/^ID=.*/ID=fedora/", "/etc/os-release")
        fa22.run("mv", "/etc/debian_version", "/etc/other_version")
        try:
            played = self._play("site", "--limit", "fa22", "-e", "roamvpn_everything=true", code=2)
        finally:
            fa22.run("ln", "-sf", "../usr/lib/os-release", "/etc/os-release")
            fa22.run("mv", "/etc/other_version", "/etc/debian_version")
        _see("gateways run Debian 12 or 13. Nothing was changed." in " ".join(played.text.split()), played.text)
        _see(self._generation("fa22") == before, "another generation runs")

    def planned(self) -> None:
        """plan exits 2, shows the masked diff and changes nothing"""
        before = self._generations()
        with self._edited("vpn_database.yml", *_JUDY_AF41):
            played = self._play("plan", code=2)
        _see("dsfield set 136" in played.text and "+++ b/fa21/" in played.text, played.text)
        _see(self._generations() == before, "generations have changed")

    def broken_site(self) -> None:
        """plan exits 1 with the messages of check where the site does not hold"""
        right = "home_agent: ha31, tenant: acme}"
        with self._edited("network.yml", right, right.replace("ha31", "nobody")):
            played = self._play("plan", code=1)
            _see("nobody" in played.text and "network.yml" in played.text, played.text)
            self._play("site", code=1)

    def other_digest(self) -> None:
        """another plan than the reviewed one is refused, and its diff is shown"""
        before = self._generations()
        with self._edited("vpn_database.yml", *_JUDY_AF41):
            (digest,) = set(re.findall(r"plan digest ([0-9a-f]+)", self._play("plan", code=2).text))
        with self._edited("vpn_database.yml", *_JUDY_EF):
            played = self._play("site", "-e", f"roamvpn_digest={digest}", code=2)
        _see(f"asked for was {digest}" in played.text and "dsfield set 184" in played.text, played.text)
        _see(self._generations() == before, "generations have changed")

    # -- changes ----------------------------------------------------------------------------------------------------

    def user_added(self) -> None:
        """a user is added, and the SAs of others go on counting"""
        _see(ping("alice", "203.0.113.5", "10.5.1.9"), "alice is not served")
        before = {name: self._associations(name) for name in ("fa21", "pcn41")}
        self._append("vpn_database.yml", _GRACE)
        played = self._play("site", "--diff", "-vvv")
        _see(played.changed == ["fa21", "pcn41"], f"changed: {played.changed}\n{played.text}")
        _see("+++ b/fa21/session/legs/rv-p11-" in played.text, "no diff of hers")
        _see(ping("alice", "203.0.113.5", "10.5.1.9"), "alice is not served")
        for name, counted in before.items():
            now = self._associations(name)
            lost = {spi: count for spi, count in counted.items() if now.get(spi, -1) < count}
            _see(not lost, f"{name}: {lost} are gone or began again: {now}")
        _see(sum(self._associations("fa21").values()) > sum(before["fa21"].values()), "nothing was counted")
        _see(self._grace_reaches(), "grace is not served")
        self._play("verify")

    def user_changed(self) -> None:
        """a user is changed"""
        path = self.site / "vpn_database.yml"
        path.write_text(
            path.read_text().replace("destaddr: 198.51.100.7, upclass: ef", "destaddr: 198.51.100.7, upclass: af11")
        )
        before = self._associations("fa21")
        played = self._play("site")
        _see(played.changed == ["fa21"], f"changed: {played.changed}")
        now = self._associations("fa21")
        _see(set(before) == set(now), f"associations have changed: {before} {now} {self._log('fa21')}")
        filters = self.hosts["fa21"].run("tc", "filter", "show", "block", "5222")
        mine = next((part for part in filters.split("filter ") if "198.51.100.7" in part), "")
        _see("val 00280000" in mine, f"no AF11 in {mine}")
        _see(self._grace_reaches(), "grace is not served")

    def user_removed(self) -> None:
        """a user is removed, and nothing of him is left"""
        path = self.site / "vpn_database.yml"
        text = path.read_text()
        path.write_text(text[: text.index("\n  - {profile_number: 11")] + "\n")
        played = self._play("site")
        _see(played.changed == ["fa21", "pcn41"], f"changed: {played.changed}\n{played.text}")
        for name in ("fa21", "pcn41"):
            host = self.hosts[name]
            left = host.run("ip", "route", "show", "table", "all") + host.run("ip", "xfrm", "policy", "list")
            left += host.run("tc", "filter", "show", "block", "5222") + host.swanctl("--list-conns")
            left += host.swanctl("--list-sas") + host.run("find", "/var/lib/roamvpn/current/", "-name", "*p11*")
            _see("203.0.113.11/32" not in left and "rv-p11" not in left, f"{name}: {left}")
        self._play("verify")

    def refused(self) -> None:
        """a generation that the kernel refuses leaves the old one running, and says where"""
        before = self._generation("fa22")
        associations = self._associations("fa22")
        fa22 = "address: 192.0.2.26\n    uplink: {interface: "
        with self._edited("network.yml", f"{fa22}wan", f"{fa22}eth9"):
            played = self._play("site", "--limit", "fa22", code=2)
        _see("eth9" in played.text and f"back at generation {before}" in played.text, played.text)
        _see(self._generation("fa22") == before, "another generation runs")
        _see(set(self._associations("fa22")) == set(associations), "associations have changed")
        self._play("verify", "--limit", "fa22")
        # what fails in the trial never comes near the running one
        self.hosts["fa22"].run("mount", "--bind", "/bin/false", "/usr/sbin/charon-systemd")
        try:
            with self._edited(
                "vpn_database.yml", "upclass: af41\n    downclass: none", "upclass: ef\n    downclass: none"
            ):
                played = self._play("site", "--limit", "fa22", code=2)
        finally:
            self.hosts["fa22"].run("umount", "/usr/sbin/charon-systemd")
        _see("validate" in played.text, played.text)
        _see(self._generation("fa22") == before, "another generation runs")

    def full_disk(self) -> None:
        """a full disk leaves the old one running, and says so"""
        fa21 = self.hosts["fa21"]
        before = self._generation("fa21")
        fa21.run("cp", "-a", "/var/lib/roamvpn", "/run/kept")
        fa21.run("mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", "/var/lib/roamvpn")
        fa21.run("cp", "-a", "/run/kept/.", "/var/lib/roamvpn")
        fa21.run("dd", "if=/dev/zero", "of=/var/lib/roamvpn/filler", "bs=1k", check=False)
        try:
            with self._edited("vpn_database.yml", *_JUDY_AF41):
                played = self._play("site", "--limit", "fa21", code=2)
        finally:
            fa21.run("umount", "/var/lib/roamvpn")
        _see("KiB free" in played.text or "No space left" in played.text, played.text)
        _see(self._generation("fa21") == before, "another generation runs")
        self._play("verify", "--limit", "fa21")

    def cut_off(self) -> None:
        """a change that cuts the controller off is undone by the gateway itself"""
        controller = self.controller
        before = self._generation("fa21")
        network.batch("fa21", "ip", [f"addr add {_SECOND_WAY}/32 dev wan"])
        network.batch(controller.name, "ip", [f"route add {_SECOND_WAY}/32 via 192.0.2.21"])
        controller.knows(_SECOND_WAY)
        way = ("--limit", "fa21", "-e", f"ansible_host={_SECOND_WAY}")
        self._play("verify", *way)
        files = {
            name: (self.site / name).read_text()
            for name in ("network.yml", "vpn_database.yml", "sessions.yml", "cn_gw_table.yml")
        }
        try:
            self._append(
                "network.yml", f"\n  - {{nai: mallory@isp3.example, home_address: {_SECOND_WAY}, home_agent: ha31}}\n"
            )
            self._append(
                "sessions.yml", "\n  - {session_id: s-mallory, nai: mallory@isp3.example, foreign_agent: fa21}\n"
            )
            self._append("cn_gw_table.yml", "\n  - {cn: 192.0.2.10/32, gw_address: 192.0.2.41, gw_type: dynamic}\n")
            self._append(
                "vpn_database.yml",
                "\n  - {profile_number: 66, nai: mallory@isp3.example, vpnshare: 0, destaddr: 192.0.2.10}\n",
            )
            played = self._play("site", *way, "-e", "roamvpn_confirm=12", code=4)
        finally:
            for name, text in files.items():
                (self.site / name).write_text(text)
        _see("unreachable" in played.text.lower(), played.text)
        self._await("fa21 is back", lambda: not self._pending("fa21"), 60)
        _see(self._generation("fa21") == before, "fa21 did not return")
        self._play("verify", *way)
        network.batch("fa21", "ip", [f"addr del {_SECOND_WAY}/32 dev wan"])

    def killed(self) -> None:
        """a killed controller leaves nothing half"""
        before = self._generations()
        with self._edited("vpn_database.yml", *_JUDY_AF41):
            process = self.controller.popen("site", "-e", "roamvpn_serial=100%", "-e", "roamvpn_confirm=25")
            self._await("a change waits on fa21", lambda: self._pending("fa21"), 120)
            self.controller.kill()
            process.communicate()
        for name in self.hosts:
            self._await(f"{name} waits for nothing", lambda name=name: not self._pending(name), 60)  # type: ignore[misc]
        now = self._generations()
        _see(now["fa21"] == before["fa21"], "fa21 did not return")
        self._play("site")
        _see(self._generations() == before, f"{self._generations()} is not {before}")
        self._play("verify")

    def two_controllers(self) -> None:
        """two controllers at once: one is refused, and nothing is mixed"""
        other = Controller(self.site, "control2").start("192.0.2.11")
        (other.site / "vpn_database.yml").write_text((self.site / "vpn_database.yml").read_text().replace(*_JUDY_EF))
        before = self._generation("fa21")
        with self._edited("vpn_database.yml", *_JUDY_AF41):
            process = self.controller.popen("site", "-e", "roamvpn_serial=100%")
            self._await("a change begins on fa21", lambda: self._pending("fa21"), 120)
            same = self._play("site", code=2)
            second = self._play("site", "--limit", "fa21", code=None, controller=other)
            text, _ = process.communicate()
            _see(process.returncode == 0, text)
            mine = self._generation("fa21")
            _see(mine != before, "the first one changed nothing")
            _see("is changing this site" in same.text, same.text)
            _see(
                second.code == 2
                and (
                    "waits for its confirmation" in second.text
                    or "planned against" in second.text
                    or "is changing this gateway" in second.text
                ),
                second.text,
            )
            _see(self._generation("fa21") == mine, "the second one changed fa21")
            self._play("verify")
        self._play("site")

    def host_down(self) -> None:
        """a host that is down in a batch stops the run with what it has proven"""
        before = self._generations()
        self._append(
            "vpn_database.yml",
            _GRACE.replace("11,", "12,")
            .replace("0x3001", "0x3003")
            .replace("0x3002", "0x3004")
            .replace("198.51.100.7", "198.51.100.8"),
        )
        index = list(network.GATEWAYS).index("pcn41")
        network.batch("internet", "ip", [f"link set w{index} down"])
        try:
            played = self._play("site", "-e", "roamvpn_serial=1", code=4)
        finally:
            network.batch("internet", "ip", [f"link set w{index} up"])
        now = self._generations()
        _see(played.counts("pcn41")["unreachable"] == 1, played.text)
        _see(now["fa21"] != before["fa21"] and now["pcn41"] == before["pcn41"], f"{before} {now}")
        self._play("site")
        self._play("verify")

    def rolled_back(self) -> None:
        """rollback goes back to the generation before, and to a named one"""
        now = self._generation("fa21")
        self._play("rollback", "--limit", "fa21,pcn41")
        before = self._generation("fa21")
        _see(before != now, "fa21 did not go back")
        self._play("verify")
        self._play("rollback", "--limit", "fa21", "-e", f"roamvpn_to={now}")
        _see(self._generation("fa21") == now, "fa21 did not go to the named one")
        played = self._play("rollback", "--limit", "fa21", "-e", "roamvpn_to=00000000000000000000000000000000", code=2)
        _see("is not on this gateway" in played.text, played.text)
        self._play("site")
        self._play("verify")

    def rotated(self) -> None:
        """keys are rotated without an outage"""
        before, ids = yaml.safe_load((self.site / "secrets.yml").read_text()), self._established("fa21")
        # how many associations on a user's way get new keys: each may cost the packets of the moment in which its
        # responder has it and its initiator not yet
        ways = (
            ("alice", "203.0.113.5", "10.5.1.9", 2),
            ("frank", "203.0.113.10", "10.5.1.9", 1),
            ("bob", "203.0.113.6", "198.51.100.9", 0),
        )
        pings = {user: self._pinging(user, home, there) for user, home, there, _ in ways}
        try:
            self._play("rotate_keys", "-e", '{"roamvpn_sla": ["gw51"], "roamvpn_serial": "100%"}')
        finally:
            said = {user: self._stopped(process) for user, process in pings.items()}
        after = yaml.safe_load((self.site / "secrets.yml").read_text())
        _see(before["site_key"] != after["site_key"], "the site key is the old one")
        _see(before["sla"]["gw51"]["shared"] != after["sla"]["gw51"]["shared"], "the SLA's key is the old one")
        now = self._established("fa21")
        own = [name for name in ids if name.startswith("rv-p")]
        _see(bool(own) and all(ids[name] != now.get(name) for name in own), f"not set up again: {ids} {now}")
        for user, _, _, renewed in ways:
            text = said[user]
            counts = re.search(r"(\d+) packets transmitted", text)
            asked = int(counts[1]) if counts else 0
            _see(asked > 100, f"{user}: {text[-300:]}")
            answered = {int(number) for number in re.findall(r"bytes from .*icmp_seq=(\d+)", text)}
            lost = set(range(1, asked)) - answered
            _see(len(lost) <= renewed and not any(n + 1 in lost for n in lost), f"{user}: lost {sorted(lost)}")
        files = self.hosts["fa21"].run("find", "/var/lib/roamvpn/current/", "-name", "*.conf")
        _see("-next" not in files and "-last" not in files, files)
        _see(not list((self.site / ".roamvpn").glob("secrets.*")), "the old keys are still on the controller")
        self._play("verify")
        self._play("site")

    def _pinging(self, user: str, home: str, there: str) -> subprocess.Popen[str]:
        argv = ["ip", "netns", "exec", user, "ping", "-i", "0.2", "-I", home, there]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def _stopped(self, process: subprocess.Popen[str]) -> str:
        process.send_signal(signal.SIGINT)
        return process.communicate()[0]

    def _established(self, host: str) -> dict[str, str]:
        listed = self.hosts[host].swanctl("--list-sas")
        return dict(re.findall(r"^(rv-\S+): #(\d+), ESTABLISHED", listed, re.MULTILINE))

    def charon_restarted(self) -> None:
        """charon restarted by hand comes back with everything"""
        self.hosts["fa21"].run("service", "strongswan", "restart")
        self._await("fa21 has its associations", lambda: "rv-p1-" in str(self._established("fa21")), 60)
        self._await(
            "fa21 is ready", lambda: json.loads(self.hosts["fa21"].gateway("verify", check=False))["drift"] == [], 60
        )
        _see(ping("alice", "203.0.113.5", "10.5.1.9"), "alice is not served")

    def replaced(self) -> None:
        """a gateway is replaced by a bare machine"""
        self.hosts["ha31"].stop()
        self.hosts["ha31"].wipe()
        self.hosts["ha31"].start()
        _see(not ping("alice", "203.0.113.5", "10.5.1.9"), "alice is served by nobody")
        self._play("site", "-e", "roamvpn_refresh=true")
        self._play("verify")
        _see(ping("alice", "203.0.113.5", "10.5.1.9"), "alice is not served")

    def decommissioned(self) -> None:
        """a gateway is decommissioned, and nothing is left"""
        host = self.hosts["pcn41b"]
        self._play("decommission", "--limit", "pcn41b", code=2)
        _see(self._generation("pcn41b") is not None, "it went without being named twice")
        self._play("decommission", "--limit", "pcn41b", "-e", "roamvpn_decommission=pcn41b")
        # the test kernel's own cache is this machine's
        places = ("/etc", "/var", "/run", "/usr/local", "/root")
        files = host.run("find", *places, "-name", "*roamvpn*", "!", "-name", "roamvpn-lab")
        _see(files.strip() == "", f"files: {files}")
        files = host.run("find", "/etc/swanctl", "-name", "*.pem")
        _see(files.strip() == "", f"credentials: {files}")
        left = host.run("ip", "link", "show") + host.run("ip", "rule", "show") + host.run("tc", "qdisc", "show")
        left += host.run("ip", "route", "show", "table", "all") + host.run("ip", "xfrm", "policy", "list")
        left += host.swanctl("--list-conns")
        _see(not re.search(r"rv-|fwmark|htb|clsact|ingress_block|table [4567]\d{5}|if_id", left), left)
        _see(host.read("/proc/sys/net/ipv4/ip_forward").strip() == self._forwarding, "settings are not restored")
        again = self._play("decommission", "--limit", "pcn41b", "-e", "roamvpn_decommission=pcn41b")
        _see(again.changed == [], again.text)
        played = self._play("site", "--limit", "!pcn41b")
        _see("revocation list" in played.text and len(played.changed) == len(self.hosts) - 1, played.text)
        crl = self.hosts["fa21"].run("openssl", "crl", "-in", "/etc/swanctl/x509crl/roamvpn.pem", "-noout", "-text")
        _see("Serial Number" in crl, crl)

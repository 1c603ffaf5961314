"""Stand-ins for gateways: a directory each, in which `roamvpn-gateway --root` works on files as it does on a gateway.

python -m benchmarks.stand_ins SITE WORK     makes them in WORK/stand-ins, prints variables for a playbook
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from roamvpn.provision.fleet import base_digest
from roamvpn.provision.state import State
from roamvpn.stores.program import NAME, write_program
from roamvpn.stores.site_directory import read_site
from roamvpn.tables.site import load_site

EVERY = "{{ inventory_hostname }}"


def prepare(site: Path, work: Path) -> dict[str, object]:
    """Make stand-ins for a site's gateways; returns the variables by which playbooks work on them.

    They are known to have been through the role `base`: packages and services of this machine are left alone.
    """
    work = work.absolute()
    program = [sys.executable, "-I", str(work / NAME)]
    roots = work / "stand-ins"
    roots.mkdir(parents=True)
    write_program(work / NAME)
    state = State(site)
    for name in load_site(read_site(site)).tables.network.gateways:
        (roots / name).mkdir()
        setup = [*program, "--root", str(roots / name), "setup", "--hardening"]
        subprocess.run(setup, input=b"", stdout=subprocess.DEVNULL, check=True)
        state.learnt(name, None)
        state.keep(name, base=base_digest())
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "roamvpn_gateway_command": [*program, "--root", f"{roots}/{EVERY}"],
        "roamvpn_stand_ins": str(roots),
    }


if __name__ == "__main__":
    print(json.dumps(prepare(Path(sys.argv[1]), Path(sys.argv[2]))))

# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run roamvpn-gateway on a gateway."""

from __future__ import annotations

DOCUMENTATION = r"""
module: program
short_description: Run roamvpn-gateway on a gateway
description:
  - Runs the program that activates, confirms and verifies configuration on a gateway, and returns its answer.
  - The actions of this collection call it. Operators use the playbooks, or the program itself at the console.
author:
  - The roamvpn authors
options:
  command:
    description: The program, and arguments that stand before its own.
    type: list
    elements: str
    default: [/usr/local/sbin/roamvpn-gateway]
  arguments:
    description: The program's arguments. They hold no secrets.
    type: list
    elements: str
    required: true
  install:
    description: The program itself, in base64. It is written to its place first, where another one or none is there.
    type: str
    default: ""
  stdin:
    description: What it reads from standard input, in base64. It holds secrets and is never shown.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Which generation runs?
  roamvpn.gateway.program:
    arguments: [status]
  register: status
"""

RETURN = r"""
answer:
  description: The program's answer.
  type: dict
  returned: when the program could be run
rc:
  description: Its exit code.
  type: int
  returned: when the program could be run
installed:
  description: Whether the program was brought, or would be.
  type: bool
  returned: always
missing:
  description: Whether the program is not there.
  type: bool
  returned: when it is not
"""

import base64
import json
import os
import subprocess

from ansible.module_utils.basic import AnsibleModule


def main():  # noqa: ANN201 - compiled for Pythons without annotations, too
    """Run it."""
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "list", "elements": "str", "default": ["/usr/local/sbin/roamvpn-gateway"]},
            "arguments": {"type": "list", "elements": "str", "required": True},
            "install": {"type": "str", "default": ""},
            "stdin": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    installed = _install(module, module.params["command"][0], base64.b64decode(module.params["install"]))
    command = module.params["command"] + module.params["arguments"]
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of words
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        module.exit_json(changed=installed, installed=installed, missing=True, msg=f"{command[0]}: {error.strerror}")
    out, said = process.communicate(base64.b64decode(module.params["stdin"]))
    try:
        answer = json.loads(out.decode("utf-8"))
    except ValueError:
        module.fail_json(rc=process.returncode, msg=said.decode("utf-8", "replace").strip()[-500:] or "no answer")
    changed = installed or bool(answer.get("changed"))
    module.exit_json(changed=changed, installed=installed, rc=process.returncode, answer=answer)


def _install(module, path, content):  # noqa: ANN001, ANN202 - see above
    """Put the program in its place, in one step; returns whether it was another one."""
    if not content:
        return False
    try:
        with open(path, "rb") as file:
            if file.read() == content:
                return False
    except OSError:
        pass
    if not module.check_mode:
        # beside its place, so that one rename switches; Ansible's atomic_move would take the right to run it away
        staged = path + ".new"
        try:
            os.unlink(staged)
        except OSError:
            pass
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, 0o755)
        os.rename(staged, path)
    return True


if __name__ == "__main__":
    main()

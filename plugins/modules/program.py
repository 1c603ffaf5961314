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
missing:
  description: Whether the program is not there.
  type: bool
  returned: when it is not
"""

import base64
import json
import subprocess

from ansible.module_utils.basic import AnsibleModule


def main():  # noqa: ANN201 - compiled for Pythons without annotations, too
    """Run it."""
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "list", "elements": "str", "default": ["/usr/local/sbin/roamvpn-gateway"]},
            "arguments": {"type": "list", "elements": "str", "required": True},
            "stdin": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    command = module.params["command"] + module.params["arguments"]
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of words
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        module.exit_json(changed=False, missing=True, msg=f"{command[0]}: {error.strerror}")
    out, said = process.communicate(base64.b64decode(module.params["stdin"]))
    try:
        answer = json.loads(out.decode("utf-8"))
    except ValueError:
        module.fail_json(rc=process.returncode, msg=said.decode("utf-8", "replace").strip()[-500:] or "no answer")
    module.exit_json(changed=bool(answer.get("changed")), rc=process.returncode, answer=answer)


if __name__ == "__main__":
    main()

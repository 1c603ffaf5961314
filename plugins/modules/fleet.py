# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which works on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet
short_description: Plan a whole site once, on the controller
description:
  - Checks and compiles the site, compares every gateway's files with what it runs, and stages those that change.
  - Run it once, on localhost. Other tasks of the play then deliver what is staged.
author:
  - The roamvpn authors
requirements:
  - The Python package C(roamvpn) on the controller
options:
  gateways:
    description: The gateways that are planned, usually those of the play.
    type: list
    elements: str
    required: true
  stage:
    description: Whether what changes is staged for delivery. Without it nothing is written and nobody kept out.
    type: bool
    default: true
  everything:
    description: Whether gateways are named that do not change.
    type: bool
    default: false
  canary:
    description: The gateway that is named first.
    type: str
    default: ""
  digest:
    description: The digest of the plan that was reviewed. Another plan is refused, and its diff shown.
    type: str
    default: ""
  rotation:
    description: The step of a rotation of keys that this run takes.
    type: str
    choices: [none, beside, switch, remove]
    default: none
  sla:
    description: Static gateways whose SLA keys are rotated with the site key.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: What B(--check) does.
    support: full
    details: Plans and stages; gateways try out what is staged and change nothing. A rotation of keys is refused.
  diff_mode:
    description: What B(--diff) shows.
    support: full
notes:
  - Works on hosts of the inventory P(roamvpn.gateway.roamvpn#inventory).
"""

EXAMPLES = r"""
- name: Plan the site
  roamvpn.gateway.fleet:
    gateways: "{{ ansible_play_hosts }}"
    stage: false
  register: plan
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
gateways:
  description: The gateways that change, in their order.
  type: list
  elements: str
  returned: success
reasons:
  description: Why each of them changes; C(base), C(certificate), C(revocation list), C(configuration) or C(asked for).
  type: dict
  returned: success
digest:
  description: Names what is planned.
  type: str
  returned: success
new:
  description: Gateways that have no configuration yet.
  type: list
  elements: str
  returned: success
again:
  description: Gateways that must set associations with new ones up again.
  type: list
  elements: str
  returned: success
summary:
  description: The plan in a line.
  type: str
  returned: success
lines:
  description: Warnings, summary, and a line for each gateway.
  type: list
  elements: str
  returned: success
"""

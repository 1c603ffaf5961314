# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which works on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: generation
short_description: Activate a generation on a gateway, and confirm it
description:
  - One transfer brings the whole generation. It is tried out beside the running one, in a network namespace and a
    charon of its own, then switched to in one step. What does not change is not touched.
  - It stands once the gateway has been reached over a new connection and is healthy. Otherwise the gateway goes back by
    itself, whatever has become of the controller.
author:
  - The roamvpn authors
requirements:
  - The Python package C(roamvpn) on the controller
options:
  confirm:
    description: Seconds until the gateway goes back by itself.
    type: int
    default: 60
  to:
    description:
      - V(staged) for what the plan staged, V(previous) for the generation before the current one, or the digest of one
        that the gateway still has.
    type: str
    default: staged
  together:
    description: Whether peers that change later in the run understand this gateway already.
    type: bool
    default: false
  based:
    description: Whether the role P(roamvpn.gateway.base#role) was run before, in the same play.
    type: bool
    default: false
attributes:
  check_mode:
    description: What B(--check) does.
    support: full
    details: Tries the generation out on the gateway and leaves the running one alone.
  diff_mode:
    description: What B(--diff) shows.
    support: full
notes:
  - Works on hosts of the inventory P(roamvpn.gateway.roamvpn#inventory).
"""

EXAMPLES = r"""
- name: Activate what is staged
  roamvpn.gateway.generation:
    confirm: 120

- name: Go back
  roamvpn.gateway.generation:
    to: previous
"""

RETURN = r"""
digest:
  description: The generation that runs now.
  type: str
  returned: success
before:
  description: The one that ran before.
  type: str
  returned: success
done:
  description: What was done, object by object.
  type: list
  elements: str
  returned: success
waiting:
  description: Associations that are not up, with the reason.
  type: list
  elements: str
  returned: success
"""

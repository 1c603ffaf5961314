# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which works on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: associations
short_description: Set up associations that are down
description:
  - Initiates what this gateway initiates, and what leads to a gateway that was replaced.
author:
  - The roamvpn authors
requirements:
  - The Python package C(roamvpn) on the controller
options:
  again:
    description: Gateways that are new. Associations with them are set up again, even if they seem to stand.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: What B(--check) does.
    support: full
    details: Does nothing.
  diff_mode:
    description: What B(--diff) shows.
    support: none
notes:
  - Works on hosts of the inventory P(roamvpn.gateway.roamvpn#inventory).
"""

EXAMPLES = r"""
- name: Initiate associations
  roamvpn.gateway.associations:
    again: [ha31]
"""

RETURN = r"""
done:
  description: What was set up.
  type: list
  elements: str
  returned: success
waiting:
  description: What is still down, with the reason.
  type: list
  elements: str
  returned: success
"""

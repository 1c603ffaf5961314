# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which works on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: setup
short_description: Bring the gateway's program and what lies outside of generations
description:
  - Brings C(/usr/local/sbin/roamvpn-gateway), which needs nothing but Python.
  - Writes the few files outside of generations, that let charon and swanctl read the current one, with charon's
    settings for its first start.
author:
  - The roamvpn authors
requirements:
  - The Python package C(roamvpn) on the controller
options:
  hardening:
    description: Whether kernel settings close what a gateway does not need.
    type: bool
    default: true
attributes:
  check_mode:
    description: What B(--check) does.
    support: full
    details: Says what would change.
  diff_mode:
    description: What B(--diff) shows.
    support: none
notes:
  - Works on hosts of the inventory P(roamvpn.gateway.roamvpn#inventory).
"""

EXAMPLES = r"""
- name: Bring the program, and let charon and swanctl read the current generation
  roamvpn.gateway.setup:
    hardening: true
  register: setup
"""

RETURN = r"""
installed:
  description: Whether the program was another one, or none.
  type: bool
  returned: success
done:
  description: Files that were written.
  type: list
  elements: str
  returned: success
started:
  description: Whether charon was ever started with these settings since the machine came up.
  type: bool
  returned: success
"""

# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which works on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drift
short_description: Compare a gateway with its generation
description:
  - Compares files, kernel and charon with the generation that the gateway shall run, object by object.
  - Fails where something differs, and lists it.
author:
  - The roamvpn authors
requirements:
  - The Python package C(roamvpn) on the controller
options: {}
attributes:
  check_mode:
    description: What B(--check) does.
    support: full
    details: Changes nothing, ever.
  diff_mode:
    description: What B(--diff) shows.
    support: none
notes:
  - Works on hosts of the inventory P(roamvpn.gateway.roamvpn#inventory).
"""

EXAMPLES = r"""
- name: Compare kernel and charon with the generation
  roamvpn.gateway.drift:
"""

RETURN = r"""
drift:
  description: What differs; C(object), C(state) (missing, changed, foreign, down) and C(detail).
  type: list
  elements: dict
  returned: always
digest:
  description: The generation.
  type: str
  returned: always
lines:
  description: The same for people.
  type: list
  elements: str
  returned: always
"""

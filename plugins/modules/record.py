# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which works on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: record
short_description: Ask a gateway what it runs
description:
  - Fetches the files of the current generation, so that the next plan compares with what stands.
  - The gateway is not changed. A bare host is noted as one.
author:
  - The roamvpn authors
requirements:
  - The Python package C(roamvpn) on the controller
options: {}
attributes:
  check_mode:
    description: What B(--check) does.
    support: full
    details: Asks as always; only the controller's own notes change.
  diff_mode:
    description: What B(--diff) shows.
    support: none
notes:
  - Works on hosts of the inventory P(roamvpn.gateway.roamvpn#inventory).
"""

EXAMPLES = r"""
- name: Fetch what runs
  roamvpn.gateway.record:
"""

RETURN = r"""
generation:
  description: Digest of the current generation; null where there is none.
  type: str
  returned: success
"""

# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which works on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: absent
short_description: Take everything of roamvpn off a gateway
description:
  - Removes configuration, credentials and program, restores kernel settings, revokes the certificate.
  - What is not of roamvpn is not touched. Packages stay.
author:
  - The roamvpn authors
requirements:
  - The Python package C(roamvpn) on the controller
options:
  passphrase:
    description: Of the CA's private key, which signs the new CRL.
    type: str
    default: ""
attributes:
  check_mode:
    description: What B(--check) does.
    support: full
    details: Says that something would be removed.
  diff_mode:
    description: What B(--diff) shows.
    support: none
notes:
  - Works on hosts of the inventory P(roamvpn.gateway.roamvpn#inventory).
"""

EXAMPLES = r"""
- name: Take everything away
  roamvpn.gateway.absent:
"""

RETURN = r"""
done:
  description: What was removed.
  type: list
  elements: str
  returned: success
revoked:
  description: Whether a certificate was revoked.
  type: bool
  returned: success
"""

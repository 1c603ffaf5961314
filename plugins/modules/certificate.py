# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which works on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate
short_description: See that a gateway has a certificate of the site's CA
description:
  - The private key is made on the gateway and stays there. The controller signs a request with the site's own CA.
  - Certificates hold for 90 days. They are renewed, with a new key, when less than 30 are left, and when names change.
author:
  - The roamvpn authors
requirements:
  - The Python package C(roamvpn) on the controller
options:
  passphrase:
    description: Of the CA's private key. It encrypts the key when the CA is made.
    type: str
    default: ""
attributes:
  check_mode:
    description: What B(--check) does.
    support: full
    details: Says that something would be issued or installed.
  diff_mode:
    description: What B(--diff) shows.
    support: none
notes:
  - Works on hosts of the inventory P(roamvpn.gateway.roamvpn#inventory).
"""

EXAMPLES = r"""
- name: See that the certificate holds
  roamvpn.gateway.certificate:
    passphrase: "{{ vault_ca_passphrase }}"
"""

RETURN = r"""
issued:
  description: Whether a certificate was issued.
  type: bool
  returned: success
"""

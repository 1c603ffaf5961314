"""What is checked of the playbooks, in this order: each step finds the hosts as the one before left them."""

from __future__ import annotations

CHECK_MODE = ("site --check on a bare host changes nothing",)

PROVISION = (
    "site brings bare hosts to the running network",
    "a second run changes nothing",
    "verify finds nothing",
    "no secret is shown at -vvv, in ps, in logs or in results",
)

LIFECYCLE = (
    "verify lists what was taken away by hand, object by object",
    "site repairs what was changed by hand",
    "another system than Debian is refused, and nothing is changed",
    "plan exits 2, shows the masked diff and changes nothing",
    "plan exits 1 with the messages of check where the site does not hold",
    "another plan than the reviewed one is refused, and its diff is shown",
    "a user is added, and the SAs of others go on counting",
    "a user is changed",
    "a generation that the kernel refuses leaves the old one running, and says where",
    "a full disk leaves the old one running, and says so",
    "a change that cuts the controller off is undone by the gateway itself",
    "a killed controller leaves nothing half",
    "two controllers at once: one is refused, and nothing is mixed",
    "a host that is down in a batch stops the run with what it has proven",
    "rollback goes back to the generation before, and to a named one",
    "keys are rotated without an outage",
    "a user is removed, and nothing of him is left",
    "charon restarted by hand comes back with everything",
    "a gateway is replaced by a bare machine",
    "a gateway is decommissioned, and nothing is left",
)

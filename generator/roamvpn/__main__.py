"""`python -m roamvpn` is the command `roamvpn`."""

from roamvpn.cli import main

main()

"""Pure translations between bytes on wires and the messages of `roamvpn.signalling`."""

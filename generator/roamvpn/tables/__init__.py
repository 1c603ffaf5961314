"""What is known: the VPN database, the CN-GW table, the network, sessions and gateway state."""

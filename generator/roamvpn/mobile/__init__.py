"""A small Mobile IP terminal for laboratories: it registers, moves, refreshes and signs off. It knows no VPN (A1)."""

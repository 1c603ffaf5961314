"""A deterministic network of nodes in one process: embodiments, storms, faults, and a team's own scripts."""

"""What the daemons have in common: carrying out what a node's machines ask for, logs, metrics, life under systemd."""

"""Gateway state to files: swanctl, iproute2 and tc, and the manifest that names them."""

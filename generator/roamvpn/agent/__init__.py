"""The daemon on a gateway: registrations come in by its hook socket, its gateway follows."""

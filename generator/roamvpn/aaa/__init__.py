"""The AAA server, of users' home or of a visited domain: its daemon, and what it reads."""

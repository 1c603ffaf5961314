"""Signalling: the five roles as state machines without I/O, which follow a user's registrations."""

"""Diameter peers (RFC 6733): connections, watchdogs, requests and their answers. What is said is others' business."""

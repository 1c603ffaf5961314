"""Provisioning: what the playbooks do, without Ansible. Plugins translate between this package and Ansible."""

"""Where tables and files come from and go to: directories, git, ansible-vault, tar bundles."""

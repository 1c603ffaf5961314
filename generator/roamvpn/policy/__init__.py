"""What is decided: path determination, keys, names, and the compile of tables to gateway state."""

"""Files against what is deployed: changes, masked diffs, summaries, the graph of the fleet."""

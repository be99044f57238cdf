"""What is known of nodes: desired and observed state, liveness, the open streams."""

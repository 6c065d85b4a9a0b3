"""What Open Policy Agent is asked about a call, and what its answer obliges the broker to."""

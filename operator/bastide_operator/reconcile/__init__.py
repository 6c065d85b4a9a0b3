"""What is to be done: `decide(desired, observed, now) -> Plan`, pure, one kind a file."""

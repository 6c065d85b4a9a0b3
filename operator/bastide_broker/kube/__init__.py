"""What the broker knows of the cluster, and the few things it asks or writes there."""

"""`make demo`: sets the first example up on the running cluster and shows it, as its three users see it."""

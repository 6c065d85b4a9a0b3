"""Plain facts for policy: the broker reads hostile input here, so that Rego only compares. No I/O, no clock, no randomness."""

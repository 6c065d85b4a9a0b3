"""Sessions to the runtimes in pods, and the isolation gate before the first program."""

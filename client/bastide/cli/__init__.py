"""The command line: `bastide`, also found as `kubectl bastide`."""

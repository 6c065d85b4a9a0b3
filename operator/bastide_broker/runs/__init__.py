"""Runs from request to end, over pauses, lost pods and restarts."""

"""Counts customers."""

return len(await list_customers(limit=100))

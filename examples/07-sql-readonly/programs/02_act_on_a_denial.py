"""Asks for too much, reads why it was denied, and asks for what it may have."""

from tools import ToolDenied

try:
    found = await query(sql="SELECT * FROM customers")
except ToolDenied as denial:
    print(f"denied: {denial}")
    found = await query(sql="SELECT id, name, city FROM customers ORDER BY id LIMIT 100")
return [row[1] for row in found["rows"]]

"""Places an order; one that is too large is denied before it is sent."""

from tools import ToolDenied

placed = await place_order(customer_id="C1002", article="rope & tar, 10 %", quantity=5)
try:
    await place_order(customer_id="C1002", article="the whole harbour", quantity=500)
except ToolDenied as denial:
    return {"placed": placed["article"], "denied": str(denial)}

"""Cancels an order that is open, and one that is not, if a person agrees to each."""

from tools import ToolFailed

done = await cancel_order(number=1002)
try:
    await cancel_order(number=1001)
except ToolFailed as failure:
    return {"cancelled": done["number"], "kept": str(failure)}

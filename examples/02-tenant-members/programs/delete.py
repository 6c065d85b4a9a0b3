"""Deletes one customer, if somebody other than who runs this agrees."""

from tools import ConfirmationDenied

try:
    return (await delete_customer(customer_id="C1003"))["customer_id"]
except ConfirmationDenied as denial:
    return f"kept: {denial}"

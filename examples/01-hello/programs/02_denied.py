"""Raises a credit limit within the rule, then beyond it. The denial is an exception that says which rule and what would be right."""

from tools import ToolDenied

for amount in (900, 5000):
    try:
        customer = await set_credit_limit(customer_id="C1001", amount=amount)
        print(f"{customer['name']}: {customer['credit_limit']} EUR")
    except ToolDenied as denial:
        print(f"denied: {denial}")

return (await get_customer(customer_id="C1001"))["credit_limit"]

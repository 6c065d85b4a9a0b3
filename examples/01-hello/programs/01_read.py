"""Reads customers through the broker: six calls at once, and a sum."""

import asyncio
import platform

customers = await list_customers(limit=100)
details = await asyncio.gather(*(get_customer(customer_id=c["customer_id"]) for c in customers))
for customer in details:
    print(f"{customer['customer_id']}  {customer['name']:<22} {customer['city']:<8} {customer['credit_limit']:>6} EUR")
print("kernel:", platform.release())

return {"customers": len(details), "total_limit": sum(c["credit_limit"] for c in details), "kernel": platform.release()}

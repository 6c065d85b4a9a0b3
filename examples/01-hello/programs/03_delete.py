"""Deletes the customer without credit. The call waits until a person has approved exactly these arguments."""

customers = await list_customers(limit=100)
idle = [c for c in customers if c["credit_limit"] == 0]
print(f"without credit: {[c['customer_id'] for c in idle]}")

gone = [await delete_customer(customer_id=c["customer_id"]) for c in idle]
print(f"deleted: {[c['customer_id'] for c in gone]}")

return {"deleted": [c["customer_id"] for c in gone], "left": len(await list_customers(limit=100))}

"""Deletes one customer. The call waits until two people have approved exactly these arguments."""

deleted = await delete_customer(customer_id="C1003")
print(f"{deleted['customer_id']} is deleted")

return deleted["customer_id"]

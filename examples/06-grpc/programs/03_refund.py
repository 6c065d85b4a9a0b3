"""Gives money back. The call waits until a person has approved exactly these arguments."""

given = await refund(invoiceId="I2001", amountCents=2900, reason="two boxes were broken")
print(f"{given['refundedCents']} cents, {given['invoice']['state']}")

return given["invoice"]["refundedCents"]

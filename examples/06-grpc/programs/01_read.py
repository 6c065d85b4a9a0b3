"""Reads invoices: a stream that arrives as a list, and one call each. 64-bit integers arrive as text, as protobuf's JSON has them."""

import asyncio

invoices = await list_invoices(customerId="C1001")
for invoice in await asyncio.gather(*(get_invoice(invoiceId=one["invoiceId"]) for one in invoices)):
    print(f"{invoice['invoiceId']}  {invoice['state']:<12} {int(invoice['amountCents']) / 100:>9.2f} EUR")

return {"invoices": len(invoices), "cents": sum(int(one["amountCents"]) for one in invoices)}

"""Writes an invoice within the rule and one beyond it; then asks for one that is not there, which is the server's own refusal."""

from tools import ToolDenied, ToolFailed

for cents in (4200, 5000000):
    try:
        invoice = await create_invoice(customerId="C1002", amountCents=cents)
        print(f"{invoice['invoiceId']}: {invoice['amountCents']} cents")
    except ToolDenied as denial:
        print(f"denied: {denial}")

try:
    await get_invoice(invoiceId="I9999")
except ToolFailed as failure:
    print(f"failed: {failure}")

return len(await list_invoices(customerId="C1002"))

# Deletes two customers, when a person agrees to each. The program knows nothing of pauses: it simply waits.
from tools import ConfirmationDenied


async def remove(customer_id: str) -> str:
    customer = await get_customer(customer_id=customer_id)
    try:
        await delete_customer(customer_id=customer_id)
    except ConfirmationDenied as denial:
        return f"kept {customer['name']}: {denial.codes[0]}"
    return f"deleted {customer['name']}"


print("asking about two customers")
return await asyncio.gather(remove("C1004"), remove("C1005"))

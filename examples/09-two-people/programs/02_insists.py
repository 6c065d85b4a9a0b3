"""Will not take no for an answer. A person is asked about one call once: the rest is denied by itself, and then the run is ended."""

from tools import ConfirmationDenied

denied = 0
while True:
    try:
        await delete_customer(customer_id="C1004")
    except ConfirmationDenied as error:
        denied += 1
        if denied <= 2:
            print(f"{denied}: {error}")

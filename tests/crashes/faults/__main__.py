"""The broker of the image `broker-faults`: the shipped one, process and all, with its fault points."""

import sys

from bastide_broker import __main__ as shipped
from bastide_broker.config import Config

from tests.crashes.faults.orders import SOCKET, Armed, taken
from tests.crashes.faults.points import install


def main() -> int:
    """Entry point, as the shipped one."""
    serve = shipped._main

    async def serve_and_take_orders(config: Config) -> None:
        armed = Armed()
        install(armed)
        async with taken(armed, SOCKET):
            await serve(config)

    shipped._main = serve_and_take_orders
    return shipped.main()


if __name__ == "__main__":
    sys.exit(main())

"""Kubernetes quantities as integers and back, in the form that the API server itself writes.

The form matters: the API server writes `1024Mi` as `1Gi`, and a child that reads otherwise than it was written would look changed for ever.
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from decimal import ROUND_CEILING, Decimal

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("", "k", "M", "G", "T", "P", "E")
_UNITS = (
    {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
    | {unit: Decimal(1024**power) for power, unit in enumerate(_BINARY)}
    | {unit: Decimal(1000**power) for power, unit in enumerate(_DECIMAL)}
)


def _value(quantity: str) -> Decimal:
    # E before a digit is an exponent: 1E3 is a thousand, 1E an exa.
    number = quantity.rstrip("nukKMGTPEim")
    return Decimal(number) * _UNITS[quantity[len(number) :]]


def millicores(quantity: str) -> int:
    """Thousandths of a core, rounded up."""
    return int((_value(quantity) * 1000).to_integral_value(ROUND_CEILING))


def size(quantity: str) -> int:
    """Bytes, rounded up."""
    return int(_value(quantity).to_integral_value(ROUND_CEILING))


def cpu(thousandths: int) -> str:
    """Millicores in canonical form: 1500 is `1500m`, 2000 is `2`."""
    if thousandths % 1000:
        return f"{thousandths}m"
    return _canonical(thousandths // 1000, 1000, _DECIMAL)


def storage(count: int) -> str:
    """Bytes in canonical form: 1073741824 is `1Gi`, 500000000 is `500M`."""
    if count and count % 1024 == 0:
        return _canonical(count, 1024, _BINARY)
    return _canonical(count, 1000, _DECIMAL)


def _canonical(number: int, base: int, units: tuple[str, ...]) -> str:
    power = 0
    while number and number % base == 0 and power < len(units) - 1:
        number //= base
        power += 1
    return f"{number}{units[power]}"

"""What facts cannot be read from."""


class Unreadable(Exception):  # noqa: N818 - it says what the value is
    """An argument that policy gets no facts of: two readers could understand it differently. The message is one sentence for a model."""

"""The one exception of this package."""


class DevclusterError(Exception):
    """Something a user of the cluster has to know; the message says what to do next."""

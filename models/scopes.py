"""What a key may do: three scopes, each of which includes the ones before it."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key may do; each scope includes the ones before it."""

    READ = "read"  # look at what its owner has made, and ask its networks
    WRITE = "write"  # submit and cancel
    ADMIN = "admin"  # all of this with everybody's, and look at the service itself

    def includes(self, other: "Scope") -> bool:
        """Return whether a key of this scope may do what needs the other one."""
        order = list(Scope)
        return order.index(self) >= order.index(other)

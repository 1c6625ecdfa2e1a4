"""Who may do what: a caller of the wire, and the rules of a namespace."""

from __future__ import annotations

from semcache.api.reading import Refused
from semcache.namespaces import Namespace, Namespaces, Role
from serving.calls import Caller, Failure, StatusCode
from serving.rights import Identity


def find(namespaces: Namespaces, name: str) -> Namespace:
    """Return a namespace.

    Raises:
        Refused: there is none of this name.
    """
    namespace = namespaces.find(name)
    if namespace is None:
        raise Refused.field("namespace", "no namespace of this name is configured" if name else "is missing")
    return namespace


def has(namespace: Namespace, caller: Caller, role: Role, tenant: str | None = None) -> bool:
    """Return whether a caller may do this for a tenant."""
    return namespace.allows(Identity(caller.sans, caller.token), role, tenant)


def check(namespace: Namespace, caller: Caller, role: Role, tenant: str | None = None) -> None:
    """Let a caller pass who may do this for a tenant.

    Raises:
        Refused: he may not.
    """
    if has(namespace, caller, role, tenant):
        return
    if not caller.sans and not caller.token:
        raise Refused(Failure(StatusCode.UNAUTHENTICATED, f"{namespace.name}: `{role}` needs a certificate or a token"))
    raise Refused(Failure(StatusCode.PERMISSION_DENIED, f"{namespace.name}: the caller may not `{role}` here"))

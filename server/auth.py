"""Who is asking, and what each kind of token may do.

| kind | how it comes | what for |
|---|---|---|
| admin | bearer, from DATA/admin-token | everything but a worker's own calls |
| user | bearer | jobs, leaderboard, artifacts |
| registration | bearer, single use, 1 hour | registering one worker |
| worker | bearer | claiming and reporting, reports of its own device; nothing of a user's |
| login | in the address of a one-time link, 10 minutes | signing a browser in |
| session | the cookie that the link sets | what a user may do, in a browser |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from fastapi import Depends, Request
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from layerprune.api.errors import NotAllowed, NotAuthenticated

from .ids import hash_secret, is_well_formed, new_token
from .models import Project, Token

Kind = Literal["admin", "user", "registration", "worker", "login", "session"]
COOKIE = "layerprune_session"
LOGIN_S = 600
SESSION_DAYS = 30
REGISTRATION_S = 3600
MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Principal:
    """The owner of a valid token."""

    kind: Kind
    project_id: int
    token_id: int
    worker_id: int | None
    device_id: int | None = None


def issue(
    session: Session,
    kind: Kind,
    project_id: int,
    *,
    now: int,
    lifetime_s: float | None = None,
    worker_id: int | None = None,
    device_id: int | None = None,
) -> str:
    """Make a token, store its hash and give the secret, which is known nowhere else from then on."""
    secret = new_token(kind)
    session.add(
        Token(
            project_id=project_id,
            kind=kind,
            secret_hash=hash_secret(secret),
            worker_id=worker_id,
            device_id=device_id,
            created_at=now,
            expires_at=None if lifetime_s is None else now + round(lifetime_s * MICROSECONDS),
        )
    )
    return secret


def authenticate(session: Session, secret: str, *, now: int) -> Principal:
    """Find out whose token this is.

    Raises NotAuthenticated for a token that is broken, unknown, expired or revoked.
    """
    if not is_well_formed(secret):
        raise NotAuthenticated("this is no token of LayerPrune, or it was cut or mistyped: its checksum is wrong")
    token = session.scalar(select(Token).where(Token.secret_hash == hash_secret(secret)))
    if token is None:
        raise NotAuthenticated("this server does not know the token; is it another server's?")
    if token.revoked_at is not None:
        raise NotAuthenticated("the token was revoked")
    if token.expires_at is not None and token.expires_at <= now:
        raise NotAuthenticated("the token has expired")
    return Principal(cast(Kind, token.kind), token.project_id, token.id, token.worker_id, token.device_id)


def make_login_link(session: Session, project_id: int, base_url: str, *, now: int) -> str:
    """Make an address that signs one browser in once, within ten minutes."""
    return f"{base_url.rstrip('/')}/login?token={issue(session, 'login', project_id, now=now, lifetime_s=LOGIN_S)}"


def sign_in(session: Session, login_token: str, *, now: int) -> str:
    """Use up a login token and give the session's secret for the cookie.

    Raises NotAuthenticated when the token is no login token, has expired or was used before.
    """
    remedy = "Print a new link with: layerprune login"
    try:
        principal = authenticate(session, login_token, now=now)
    except NotAuthenticated as error:
        raise NotAuthenticated(error.message, remedy=remedy) from error
    used = session.execute(
        update(Token)
        .where(Token.id == principal.token_id, Token.kind == "login", Token.used_at.is_(None))
        .values(used_at=now)
    )
    if not used.rowcount:  # type: ignore[attr-defined]
        raise NotAuthenticated("the link was used before", remedy=remedy)
    return issue(session, "session", principal.project_id, now=now, lifetime_s=SESSION_DAYS * 86_400)


def default_project(session: Session) -> Project:
    """Give the project that owns everything as long as there is only one."""
    return session.scalars(select(Project).where(Project.name == "default")).one()


def principal_of(request: Request) -> Principal:
    """Give who is asking; the gate in front of the app has found it out (gate.py)."""
    principal = request.scope.get("principal")
    if not isinstance(principal, Principal):
        raise NotAuthenticated("this needs a token")
    return principal


def _only(*kinds: Kind) -> Callable[[Request], Principal]:
    def check(request: Request) -> Principal:
        principal = principal_of(request)
        if principal.kind not in kinds:
            raise NotAllowed(
                f"this needs a token of kind {' or '.join(kinds)}, yours is of kind {principal.kind}",
                value=principal.kind,
            )
        return principal

    return check


UserDep = Annotated[Principal, Depends(_only("admin", "user", "session"))]
AdminDep = Annotated[Principal, Depends(_only("admin"))]
WorkerDep = Annotated[Principal, Depends(_only("worker"))]
AdminOrWorkerDep = Annotated[Principal, Depends(_only("admin", "worker"))]
RegistrationDep = Annotated[Principal, Depends(_only("admin", "registration", "worker"))]
UserOrWorkerDep = Annotated[Principal, Depends(_only("admin", "user", "session", "worker"))]
AnyDep = Annotated[Principal, Depends(principal_of)]

"""Sign a browser in by a one-time link."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from .auth import COOKIE, SESSION_DAYS, UserDep, make_login_link, sign_in
from .context import ContextDep

router = APIRouter()


@router.post("/v1/login-links", status_code=201, tags=["login"])
def create_login_link(request: Request, ctx: ContextDep, principal: UserDep) -> dict[str, str]:
    """Make an address that signs one browser in once, within ten minutes."""
    url = make_login_link(ctx.session, principal.project_id, str(request.base_url), now=ctx.now)
    return {"url": url}


@router.get("/login", include_in_schema=False)
def login(request: Request, token: str, ctx: ContextDep) -> Response:
    """Exchange the link's token for a session cookie and go to the first page."""
    secret = sign_in(ctx.session, token, now=ctx.now)
    response = RedirectResponse("/", status_code=303)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=SESSION_DAYS * 86_400,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response

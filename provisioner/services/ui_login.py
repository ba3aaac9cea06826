"""Logging in to the web UI and out of it: a session is a cookie that only this site's own pages send."""

from __future__ import annotations

from aiohttp import web

from provisioner.access import require_user
from provisioner.conductor.tokens import Tokens
from provisioner.errors import Denied
from provisioner.model.access import TokenPurpose
from provisioner.services.http import SESSION_COOKIE, json, principal
from provisioner.services.ui_answers import Answers, posted, redirect
from provisioner.services.ui_pages import Page

_LOGIN = Page("login", "")
_OWN_PAGES = ("same-origin", "none")


class Login:
    """The routes around a session."""

    def __init__(self, answers: Answers, tokens: Tokens) -> None:
        self._answers = answers
        self._tokens = tokens

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service."""
        return [
            web.get("/login", self.form),
            web.post("/login", self.log_in),
            web.post("/logout", self.log_out),
            web.get("/session", self.session),
        ]

    async def form(self, request: web.Request) -> web.Response:
        """The form; its script looks whether there is a session already (see `session`)."""
        return self._form(request, request.query.get("next", "/"))

    def _form(
        self, request: web.Request, following: str, message: str = "", username: str = "", status: int = 200
    ) -> web.Response:
        values = {"next": local_path(following), "message": message, "username": username}
        return self._answers.page(request, _LOGIN, values, status)

    async def log_in(self, request: web.Request) -> web.Response:
        """Begin a session."""
        # There is no cookie yet that would tell our own pages from others: without this, another site could log its
        # visitors in under a name of its choice.
        if request.headers.get("Sec-Fetch-Site", "none") not in _OWN_PAGES:
            raise Denied("this request comes from another site", code="cross-site")
        form = await posted(request)
        username, password, following = (form.get(name, "") for name in ("username", "password", "next"))
        try:
            secret = await self._tokens.log_in(username, password, TokenPurpose.SESSION, request.remote or "")
        except Denied as error:
            return self._form(request, following, error.message, username, error.status)
        response = redirect(local_path(following))
        response.set_cookie(SESSION_COOKIE, secret, httponly=True, samesite="Strict", path="/", secure=request.secure)
        return response

    async def log_out(self, request: web.Request) -> web.Response:
        """End the session."""
        require_user(principal(request), "log out")
        await self._tokens.log_out(request.cookies.get(SESSION_COOKIE, ""))
        response = redirect("/login")
        response.del_cookie(SESSION_COOKIE, path="/")
        return response

    async def session(self, request: web.Request) -> web.Response:
        """Who is logged in, '' for nobody.

        SameSite=Strict keeps the cookie from a page that is opened by a link elsewhere; the login form's script finds
        out here that the form is not needed.
        """
        return json({"user": principal(request).name}, headers={"Cache-Control": "no-store"})


def local_path(text: str) -> str:
    """The path to go to after login; `/` for anything that could lead to another site, or back to the login form."""
    if not text.isprintable() or "\\" in text or not text.startswith("/") or text.startswith("//"):
        return "/"
    return "/" if text.partition("?")[0] in ("/login", "/logout") else text

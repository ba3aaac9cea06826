"""How the web UI answers: pages and fragments with their security headers, redirects, posted forms read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from provisioner.errors import FieldError, Invalid, TooLarge
from provisioner.model.machines import Machine
from provisioner.services.http import principal, unless_left
from provisioner.services.ui_pages import Page, Templates

NAVIGATION = (
    ("/", "Machines"),
    ("/jobs", "Jobs"),
    ("/leases", "Network"),
    ("/content", "Content"),
    ("/health", "Health"),
)

# Nothing from elsewhere, nothing inline: what an attacker gets into a log or an inventory stays text.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_CONFIRM = Page("confirm", "/")
# What a form raises that has no end, or names letters or a transfer encoding that there are not.
_UNREADABLE = (ValueError, LookupError, RuntimeError, BadHttpMessage, web.RequestPayloadError)
_FRESH = {**SECURITY_HEADERS, "Cache-Control": "no-store"}


class Answers:
    """Makes responses out of pages."""

    def __init__(self, templates: Templates, clock: Callable[[], datetime], version: str) -> None:
        self._templates = templates
        self._clock = clock
        self._version = version

    def _filled(self, request: web.Request, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "now": self._clock(),
            "user": principal(request).name,
            "navigation": NAVIGATION,
            "version": self._version,
            "last_event": 0,
            "stream": "",
            **values,
        }

    def page(self, request: web.Request, page: Page, values: Mapping[str, Any], status: int = 200) -> web.Response:
        """A page that stays as it is."""
        return _html(self._templates.page(page, self._filled(request, values)), status)

    def ask(
        self,
        request: web.Request,
        question: str,
        button: str,
        fields: Iterable[tuple[str, str]],
        back: str,
    ) -> web.Response:
        """A page that asks before something is done: the same form again, with `confirmed` among its fields."""
        values = {
            "question": question,
            "button": button,
            "fields": list(fields),
            "action": request.rel_url.raw_path,
            "back": back,
        }
        return self.page(request, _CONFIRM, values)

    def live(
        self,
        request: web.Request,
        page: Page,
        values: Mapping[str, Any],
        last_event: int,
        machine: Machine | None = None,
    ) -> web.Response:
        """A page that follows events from `last_event` on, or those of its fragments that the query names."""
        filled = self._filled(request, {**values, "last_event": last_event, "stream": _stream(page, machine)})
        if "fragment" in request.query:
            return _html(self._templates.fragments(page, request.query["fragment"].split(","), filled))
        return _html(self._templates.page(page, filled))


def _html(text: str, status: int = 200) -> web.Response:
    response = web.Response(text=text, status=status, content_type="text/html", headers=_FRESH)
    response.enable_compression()
    return response


def _stream(page: Page, machine: Machine | None) -> str:
    """The event stream that the page listens to, '' for none."""
    if not page.listens:
        return ""
    wanted = [f"machine={machine.id}"] if machine is not None else []
    if page.listens != "*":
        wanted.append(f"kind={page.listens}")
    return "/api/v1/events/stream" + (f"?{'&'.join(wanted)}" if wanted else "")


def redirect(path: str) -> web.Response:
    """See other: after a form was posted, or to the login form."""
    return web.Response(status=303, headers={**_FRESH, "Location": path})


async def posted(request: web.Request) -> dict[str, str]:
    """The text fields of a posted form, of those with the same name the last; raises Invalid, TooLarge."""
    return dict(await posted_fields(request))


async def posted_fields(request: web.Request) -> list[tuple[str, str]]:
    """All text fields of a posted form as name and value; raises Invalid, TooLarge."""
    try:
        form = await unless_left(request, request.post())
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge("the form is too large") from error
    except _UNREADABLE as error:
        raise Invalid(f"the form cannot be read: {error}", status=400, code="form-unreadable") from error
    return [(name, value) for name, value in form.items() if isinstance(value, str)]


def wrong(field: str, message: str) -> Invalid:
    """One field of a form is wrong."""
    return Invalid(f"{field}: {message}", fields=(FieldError(field, message),))

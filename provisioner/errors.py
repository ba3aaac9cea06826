"""Every error the product raises on purpose, split by what the caller does next.

ProvisionerError
├── Invalid            the caller sent something wrong: mend it               400/422
│   └── ContentError   a content pack is wrong: names file, line, object
├── NotFound           no such thing                                          404
├── Denied             not logged in, or not allowed                          401/403
├── Conflict           the thing is in a state that forbids this: look again  409
│   └── Refused        the rules forbid it until an operator changes something
├── TooLarge           more than we are willing to read                       413
├── SettingError       a setting is wrong: the server does not start
├── StoreError         our disk failed: nothing was changed, try again        503
│   └── DiskFull       there is no room: an operator must make some
└── PowerError         a BMC did not do it                                    502/504
    ├── BmcUnreachable    no answer at all: check address, cable, BMC         504
    ├── BmcLoginRefused   it answered and refused the credentials             502
    ├── BmcTimeout        it answered, then did not finish in time            504
    └── BmcRefused        it answered with an error                           502
"""

from errno import EDQUOT, ENOSPC

from msgspec import Struct


class FieldError(Struct, frozen=True):
    """One invalid field: `path` as in `tasks[2].name`, `message` with the value and the valid choices."""

    path: str
    message: str


class ProvisionerError(Exception):
    """Base of all: `code` is stable for programs, `object` names the thing, `fields` the invalid parts."""

    code = "error"
    status = 500

    def __init__(
        self,
        message: str,
        *,
        object: str = "",
        fields: tuple[FieldError, ...] = (),
        code: str = "",
        status: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.object = object
        self.fields = fields
        self.code = code or type(self).code
        self.status = status or type(self).status


class Invalid(ProvisionerError):
    """The caller sent something wrong; sending it again changes nothing."""

    code = "invalid"
    status = 422


class ContentError(Invalid):
    """A content pack is wrong; each field error's path is `file:line`."""

    code = "content-invalid"


class NotFound(ProvisionerError):
    """There is no such thing."""

    code = "not-found"
    status = 404


class Denied(ProvisionerError):
    """Not logged in (401) or not allowed (403)."""

    code = "denied"
    status = 403


class Conflict(ProvisionerError):
    """The thing's present state forbids this; look again and decide anew."""

    code = "conflict"
    status = 409


class Refused(Conflict):
    """The rules forbid this until an operator changes something."""

    code = "refused"


class TooLarge(ProvisionerError):
    """More bytes than this place accepts."""

    code = "too-large"
    status = 413


class SettingError(ProvisionerError):
    """A setting is wrong; the server does not start."""

    code = "setting-invalid"


class StoreError(ProvisionerError):
    """The store could not write; nothing was changed and the request may be repeated."""

    code = "store-failed"
    status = 503


class DiskFull(StoreError):
    """There is no room on our disk, or a quota is used up; nothing was changed, and it goes on once there is room."""

    code = "disk-full"
    ERRNOS = frozenset({ENOSPC, EDQUOT})


class PowerError(ProvisionerError):
    """A BMC did not do what it was asked."""

    code = "power-failed"
    status = 502


class BmcUnreachable(PowerError):
    """No answer at all from the BMC."""

    code = "bmc-unreachable"
    status = 504


class BmcLoginRefused(PowerError):
    """The BMC answered and refused the user name or the password."""

    code = "bmc-login-refused"


class BmcTimeout(PowerError):
    """The BMC answered at first but did not finish within the deadline."""

    code = "bmc-timeout"
    status = 504


class BmcRefused(PowerError):
    """The BMC answered with an error."""

    code = "bmc-refused"


def unknown(kind: str, name: str, choices: object) -> str:
    """The sentence for a name that does not exist, with what does (the first 20)."""
    known = sorted(str(choice) for choice in choices)  # type: ignore[attr-defined]
    if not known:
        return f"unknown {kind} {name!r}; there is none yet"
    shown = ", ".join(known[:20])
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    return f"unknown {kind} {name!r}; there is: {shown}{more}"

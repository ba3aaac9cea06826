"""What operators define, in packs or through the API: params, templates, tasks, stages, workflows and the like."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType, field

NO_STAGE = "none"

LOCAL_BOOTENV = "local"

GLOBAL_PROFILE = "global"


class TaskFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file of a task: a script to run when `path` is empty, else a file to write there.

    Exactly one of `template` (a template's name) and `contents` (inline Jinja2) is set.
    """

    name: str
    path: str = ""
    template: str = ""
    contents: str = ""
    interpreter: str = ""
    mode: str = ""


class Retry(Struct, frozen=True, forbid_unknown_fields=True):
    """How often a failed task is tried again by itself, and the first pause in seconds.

    Each pause is about twice the one before, a little shorter by chance, and never over `max_backoff_seconds`.
    """

    max: int = 0
    backoff_seconds: float = 2.0
    max_backoff_seconds: float = 300.0


class BootFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file rendered for each machine in a boot environment; `path` is a template itself."""

    path: str
    template: str = ""
    contents: str = ""


class BootArch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one architecture boots; paths are below `/files/`, `boot_params` is a template."""

    kernel: str
    initrds: tuple[str, ...] = ()
    boot_params: str = ""


class OperatingSystem(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which operating system a boot environment is or installs."""

    family: str = ""
    version: str = ""


class Content(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all objects of content packs share. `pack` is empty for objects made through the API."""

    name: str
    description: str = ""
    documentation: str = ""
    meta: dict[str, str] = field(default_factory=dict)
    pack: str = ""


class Param(Content, frozen=True, kw_only=True):
    """A named, typed value: `schema` is JSON Schema; `default` must satisfy it; `secure` values are never shown.

    With `compose` the layers are put together (maps merged, lists joined) instead of the nearest one winning. With
    `expand` texts in the value are templates, rendered for the machine when somebody asks for it.
    """

    kind: ClassVar[str] = "params"
    schema: dict[str, Any] = field(default_factory=dict)
    default: Any | UnsetType = UNSET
    secure: bool = False
    compose: bool = False
    expand: bool = False


class Profile(Content, frozen=True, kw_only=True):
    """A named set of params; it may include other profiles."""

    kind: ClassVar[str] = "profiles"
    params: dict[str, Any] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()


class Template(Content, frozen=True, kw_only=True):
    """Jinja2 source, addressed by name (`group/name`, without the `.j2`)."""

    kind: ClassVar[str] = "templates"
    contents: str = ""


class Task(Content, frozen=True, kw_only=True):
    """The unit of work. `timeout_seconds` 0 is no limit; `destructive` tasks need an erase grant.

    `on_error` names tasks that are done once after the first failure, before the task is tried again. A job that
    went on `max_resumes` times after being incomplete holds its machine; 0 is no limit.
    """

    kind: ClassVar[str] = "tasks"
    files: tuple[TaskFile, ...] = ()
    required_params: tuple[str, ...] = ()
    optional_params: tuple[str, ...] = ()
    timeout_seconds: float = 0
    heartbeat_seconds: float = 60
    retry: Retry = Retry()
    on_error: tuple[str, ...] = ()
    max_resumes: int = 100
    idempotent: bool = False
    destructive: bool = False


class Stage(Content, frozen=True, kw_only=True):
    """Ordered tasks plus the boot environment they need (empty: leave it as it is)."""

    kind: ClassVar[str] = "stages"
    bootenv: str = ""
    tasks: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    required_params: tuple[str, ...] = ()
    reboot: bool = False


class Workflow(Content, frozen=True, kw_only=True):
    """Ordered stages."""

    kind: ClassVar[str] = "workflows"
    stages: tuple[str, ...] = ()


class Bootenv(Content, frozen=True, kw_only=True):
    """What a machine boots; without any `arch` entry, its own disk. Its `files` are rendered on request."""

    kind: ClassVar[str] = "bootenvs"
    os: OperatingSystem = OperatingSystem()
    arch: dict[str, BootArch] = field(default_factory=dict)
    files: tuple[BootFile, ...] = ()
    only_unknown: bool = False

    @property
    def netboots(self) -> bool:
        """Whether a machine in it boots from the network."""
        return bool(self.arch)

    @property
    def installs(self) -> bool:
        """Whether an installer runs in it, which does its own reboot."""
        return self.name.endswith("-install")


CONTENT_KINDS: dict[str, type[Content]] = {
    cls.kind: cls for cls in (Param, Profile, Template, Task, Stage, Workflow, Bootenv)
}

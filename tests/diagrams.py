"""Draws the tables of the lifecycle into docs/lifecycle.md: `make diagrams`. A test fails when they are stale."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.exits import CODES, after_script
from provisioner.claims import ANSWERS, CLAIM_TABLE
from provisioner.endings import ENDED_TABLE
from provisioner.hellos import UP_TABLE
from provisioner.lifecycle import JOB_ACTIONS, JOB_EVENTS, JOB_TABLE
from provisioner.model.machines import FINAL_STATES, JobState
from provisioner.standing import MACHINE_EVENTS, MACHINE_ROWS, STANDINGS, MachineEvent, Standing

PAGE = Path(__file__).resolve().parent.parent / "docs" / "lifecycle.md"
# These happen anywhere and lead anywhere: arrows for them would hide all others.
ANYWHERE = (MachineEvent.GIVE, MachineEvent.CLEAR, MachineEvent.BREAK, MachineEvent.MEND)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    drawn = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([drawn[0], f"|{' --- |' * len(cells[0])}", *drawn[1:]])


def code(words: Iterable[str]) -> str:
    """Words as code, with commas."""
    return ", ".join(f"`{word}`" for word in words)


def diagram(arrows: Iterable[tuple[str, str, str]]) -> str:
    """A Mermaid state diagram of arrows (from, to, label); arrows between the same two become one."""
    labels: dict[tuple[str, str], list[str]] = {}
    for start, end, label in arrows:
        found = labels.setdefault((start, end), [])
        if label not in found:
            found.append(label)
    lines = [f"    {identifier(a)} --> {identifier(b)} : {', '.join(said)}" for (a, b), said in labels.items()]
    names = dict.fromkeys(name for pair in labels for name in pair if "-" in name)
    lines = [f"    {identifier(name)} : {name}" for name in names] + lines
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def identifier(name: str) -> str:
    """A state's name as Mermaid takes it."""
    return name if name == "[*]" else name.replace("-", "_")


def job_diagram() -> str:
    """The states of jobs."""
    arrows = [("[*]", JobState.CREATED.value, "claim")]
    arrows += [(state.value, step.next.value, event.value) for (state, event), step in JOB_TABLE.items()]
    arrows += [(state.value, "[*]", "") for state in JobState if state in FINAL_STATES]
    return re.sub(r" : $", "", diagram(arrows), flags=re.MULTILINE)


def job_table() -> str:
    """What each event does to a job."""
    rows = (
        (f"`{state.value}`", f"`{event.value}`", f"`{step.next.value}`", JOB_ACTIONS[step.action])
        for (state, event), step in JOB_TABLE.items()
    )
    return table(("state", "event", "next", "what it does"), rows)


def job_events() -> str:
    """What the events of jobs mean."""
    return table(("event", "what happened"), ((f"`{event.value}`", text) for event, text in JOB_EVENTS.items()))


def standings() -> str:
    """Where machines stand."""
    return table(("standing", "what it means"), ((f"`{row.standing.value}`", row.meaning) for row in STANDINGS))


def machine_diagram() -> str:
    """What moves machines from one standing to another."""
    return diagram(
        (before.value, after.value, row.event.value)
        for row in MACHINE_ROWS
        for before in row.before
        for after in row.after
        if row.event not in ANYWHERE and before is not after and Standing.UNAVAILABLE not in (before, after)
    )


def machine_table() -> str:
    """What each event does to a machine."""
    rows = (
        (f"`{row.event.value}`", code(row.before), row.action, code(row.after))
        for event in MACHINE_EVENTS
        for row in MACHINE_ROWS
        if row.event is event
    )
    return table(("event", "in", "what it does", "leads to"), rows)


def machine_events() -> str:
    """What the events of machines mean."""
    return table(("event", "what happened"), ((f"`{event.value}`", text) for event, text in MACHINE_EVENTS.items()))


def claim_table() -> str:
    """The rows of the claim table, in order."""
    rows = ((str(number), row.name, row.when, row.then) for number, row in enumerate(CLAIM_TABLE, 1))
    return table(("", "row", "when", "answer"), rows)


def claim_answers() -> str:
    """What the answers mean."""
    return table(("answer", "what the agent sees"), ((f"`{key.value}`", text) for key, text in ANSWERS.items()))


def ended_table() -> str:
    """The rows of the table of ends, in order."""
    rows = ((str(number), row.name, row.when, row.then) for number, row in enumerate(ENDED_TABLE, 1))
    return table(("", "row", "the job is", "its machine"), rows)


def up_table() -> str:
    """The rows of the table of hellos, in order."""
    rows = ((str(number), row.name, row.when, row.then) for number, row in enumerate(UP_TABLE, 1))
    return table(("", "row", "when", "the machine"), rows)


def exit_codes() -> str:
    """What exit codes of scripts mean, before the last script of a task and at it."""
    rows = [(f"`{value}`", said(value, False), said(value, True)) for value in CODES]
    rows.append(("any other, or a signal", said(1, False), said(1, True)))
    return table(("exit code", "before the last script", "at the last script"), rows)


def said(value: int, is_last: bool) -> str:
    """How a script that exited so ends its job."""
    ending = after_script(value, is_last)
    if ending is None:
        return "the next script"
    then = "" if ending.exit_state in (ending.state, "complete", "failed") else f", then {ending.exit_state}"
    skipped = " (the rest is skipped)" if ending.exit_state == "complete" and not is_last else ""
    return f"`{ending.state}`{then}{skipped}"


BLOCKS: dict[str, Callable[[], str]] = {
    block.__name__.replace("_", "-"): block
    for block in (
        job_diagram,
        job_table,
        job_events,
        standings,
        machine_diagram,
        machine_table,
        machine_events,
        claim_table,
        claim_answers,
        ended_table,
        up_table,
        exit_codes,
    )
}
_BLOCK = re.compile(r"(<!-- drawn: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def drawn(page: str) -> str:
    """The page with every block drawn anew from the tables; raises KeyError for a block that nobody draws."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", page)


def blocks_in(page: str) -> list[str]:
    """The names of the blocks of a page."""
    return [name for _, name, _ in _BLOCK.findall(page)]


def main() -> None:
    """Draw the page."""
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"drawn: {PAGE}")


if __name__ == "__main__":
    main()

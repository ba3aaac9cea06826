"""Remove every kernel module of a root that a list of patterns does not keep.

Usage: keep_modules.py KERNEL_FOLDER PATTERN_FILE, where KERNEL_FOLDER is lib/modules/VERSION after depmod. Modules that
a kept one depends on stay, by modules.dep. A pattern that matches nothing is an error: the kernel has moved on.
"""

import sys
from fnmatch import fnmatchcase
from pathlib import Path


def read_patterns(path: Path) -> list[str]:
    """The patterns of a list file, comments and empty lines left out."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def read_dependencies(path: Path) -> dict[str, list[str]]:
    """modules.dep as a table: module path -> paths of the modules it needs, direct or not."""
    table = {}
    for line in path.read_text().splitlines():
        module, needed = line.split(":")
        table[module] = needed.split()
    return table


def is_kept(module: str, patterns: list[str]) -> bool:
    """Whether the last pattern that matches this path (below kernel/) keeps it."""
    kept = False
    for pattern in patterns:
        if fnmatchcase(module, pattern.removeprefix("!")):
            kept = not pattern.startswith("!")
    return kept


def unmatched(patterns: list[str], modules: list[str]) -> list[str]:
    """The patterns that match no module at all."""
    return [p for p in patterns if not any(fnmatchcase(m, p.removeprefix("!")) for m in modules)]


def choose(dependencies: dict[str, list[str]], patterns: list[str]) -> set[str]:
    """The modules to keep: those the patterns keep, and all that those depend on."""
    chosen = {module for module in dependencies if is_kept(module.removeprefix("kernel/"), patterns)}
    return chosen.union(*(dependencies[module] for module in chosen))


def main(folder: Path, pattern_file: Path) -> int:
    """Remove the modules that the patterns do not keep; 1 when a pattern is stale, and then nothing is removed."""
    patterns = read_patterns(pattern_file)
    dependencies = read_dependencies(folder / "modules.dep")
    if stale := unmatched(patterns, [module.removeprefix("kernel/") for module in dependencies]):
        print(f"{pattern_file}: no module of this kernel matches: {', '.join(stale)}", file=sys.stderr)
        return 1
    keep = choose(dependencies, patterns)
    for module in dependencies.keys() - keep:
        (folder / module).unlink()
    print(f"{len(keep)} of {len(dependencies)} modules kept")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

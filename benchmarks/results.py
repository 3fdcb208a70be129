"""Description of the machine, and the measured sections of pages."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
PACKAGES = ("keras", "tensorflow", "jax", "torch", "diffusers", "numpy")


def machine() -> str:
    """Return one line with the processor, its cores, and the versions of Python and packages."""
    name = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = [x for x in cpu.read_text().splitlines() if x.startswith("model name")]
        name = lines[0].split(":")[1].strip() if lines else name
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    cores = len(os.sched_getaffinity(0))
    return (
        f"Machine: {name}, {cores} cores, no accelerator used. "
        f"Python {platform.python_version()}, {versions}."
    )


def write(section: str, command: str, lines: list[str], page: Path = RESULTS) -> None:
    """Replace the text between the two marks of a section, and print it.

    Args:
        section: Name of the section, as in its marks.
        command: Command that made the measurements.
        lines: Lines of the section, in Markdown.
        page: Page with the marks.
    """
    text = "\n".join([machine(), f"Command: `{command}`.", "", *lines])
    print(text)
    begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    old = page.read_text()
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(old):
        raise SystemExit(f"Expected the marks {begin} and {end} in {page.name}")
    page.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", old))

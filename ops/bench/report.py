"""What a bench measured, as medians, goals, floors and pictures.  Pure.

The rules: a goal that is missed is said to be missed; a floor that is missed fails the command.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any, Final

OURS: Final = "zentransfer"
BAR: Final = 300  # SVG units of the longest bar
_LINE: Final = 22


@dataclass(frozen=True, slots=True)
class Run:
    """One load against one server: what it took, and what the server used.

    ``load_share`` is the share of its core that the load itself used: near 1 it was the limit.
    """

    gib_s: float
    uploads_s: float
    cpu_s_gib: float
    cpu_us_upload: float
    p99_ms: float
    rss_mib: float
    load_share: float


MEASURES: Final = tuple(field.name for field in fields(Run))
TITLES: Final[Mapping[str, str]] = {
    "gib_s": "GiB/s",
    "uploads_s": "uploads/s",
    "cpu_s_gib": "CPU s/GiB",
    "cpu_us_upload": "CPU us/upload",
    "p99_ms": "p99 ms",
    "rss_mib": "peak MiB",
    "load_share": "load's core",
}
"""The column of each measure."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What *measure* of ours in *load* shall be: at least, or at most, *limit*.

    *limit* is a factor of what *peer* reached, or where there is none, a number by itself.
    """

    load: str
    measure: str
    limit: float
    peer: str | None = None
    is_most: bool = False

    def judged(self, medians: "Medians") -> "Verdict | None":
        """Return whether it holds; ``None`` where one of the two was not measured."""
        ours = medians.get((self.load, OURS))
        theirs = medians.get((self.load, self.peer)) if self.peer else None
        if ours is None or (self.peer and theirs is None):
            return None
        value: float = getattr(ours, self.measure)
        if theirs is not None:
            value /= max(getattr(theirs, self.measure), 1e-9)
        holds = value <= self.limit if self.is_most else value >= self.limit
        return Verdict(self, value, holds)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bound came to."""

    bound: Bound
    value: float
    holds: bool

    @property
    def text(self) -> str:
        """Say it in one line."""
        bound = self.bound
        sign = "<=" if bound.is_most else ">="
        times = f"x {bound.peer}" if bound.peer else ""
        word = "reached" if self.holds else "MISSED"
        title = TITLES[bound.measure]
        return f"{word}: {bound.load}, {title} {self.value:.2f}{times} ({sign} {bound.limit:g})"


Medians = Mapping[tuple[str, str], Run]
"""By load and server."""


def medians(runs: Mapping[tuple[str, str], Sequence[Run]]) -> dict[tuple[str, str], Run]:
    """Return the median of each measure of each load and server, over all rounds."""
    return {
        key: Run(*(median(getattr(run, name) for run in each) for name in MEASURES))
        for key, each in runs.items()
        if each
    }


def judged(bounds: Iterable[Bound], of: Medians) -> list[Verdict]:
    """Return the verdict on each bound that was measured."""
    return [verdict for bound in bounds if (verdict := bound.judged(of)) is not None]


def markdown(title: str, header: Mapping[str, str], of: Medians, goals: Sequence[Verdict]) -> str:
    """Return the whole report as a page."""
    lines = [f"# {title}", ""]
    lines += [f"- {name}: {text}" for name, text in header.items()]
    for load in dict.fromkeys(load for load, _ in of):
        lines += ["", f"## {load}", "", *_table(load, of)]
    if goals:
        lines += ["", "## Goals", "", *(f"- {verdict.text}" for verdict in goals)]
    return "\n".join(lines) + "\n"


def _table(load: str, of: Medians) -> list[str]:
    titles = " | ".join(TITLES[name] for name in MEASURES)
    lines = [f"| server | {titles} |", "|---" * (len(MEASURES) + 1) + "|"]
    for (each, server), run in of.items():
        if each == load:
            numbers = " | ".join(_short(getattr(run, name)) for name in MEASURES)
            lines.append(f"| {server} | {numbers} |")
    return lines


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"  # noqa: PLR2004 - three digits


def document(
    header: Mapping[str, str],
    runs: Mapping[tuple[str, str], Sequence[Run]],
    goals: Sequence[Verdict],
    floors: Sequence[Verdict],
) -> dict[str, Any]:
    """Return all of it as JSON would hold it."""
    return {
        "header": dict(header),
        "runs": [
            {"load": load, "server": server, "rounds": [asdict(run) for run in each]}
            for (load, server), each in runs.items()
        ],
        "goals": [{"text": each.text, "holds": each.holds} for each in goals],
        "floors": [{"text": each.text, "holds": each.holds} for each in floors],
    }


def svg(title: str, of: Medians, shown: Mapping[str, str]) -> str:
    """Return bars: of each load in *shown* the measure that it names."""
    y, parts = 50, [_text(20, 30, title, "bold 18px")]
    for load, measure in shown.items():
        rows = {server: getattr(run, measure) for (each, server), run in of.items() if each == load}
        if not rows:
            continue
        y += _LINE
        parts.append(_text(20, y, f"{load}: {TITLES[measure]}", "bold 13px"))
        most = max(rows.values()) or 1.0
        for server, value in rows.items():
            y += _LINE
            color = "#0a7d5a" if server == OURS else "#9aa5b1"
            parts.append(_text(30, y, server, "13px"))
            width = max(1.0, BAR * value / most)
            parts.append(
                f'<rect x="200" y="{y - 13}" width="{width:.0f}" height="16" fill="{color}"/>'
            )
            parts.append(_text(206 + int(width), y, _short(value), "13px"))
        y += _LINE // 2
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{y + 20}">'
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([head, paper, *parts, "</svg>"]) + "\n"


def _text(x: int, y: int, words: str, font: str) -> str:
    safe = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x}" y="{y}" style="font: {font} sans-serif" fill="#1f2933">{safe}</text>'

"""A bar chart as SVG, readable on a light and on a dark screen."""

from __future__ import annotations

from html import escape
from pathlib import Path

ROW, LEFT, WIDTH, RIGHT, TOP = 24, 240, 400, 60, 36

STYLE = """
svg { font: 13px system-ui, sans-serif; --paper: #fff; --ink: #222; --ours: #0969da; --other: #9aa4af }
@media (prefers-color-scheme: dark) { svg { --paper: #16191d; --ink: #ddd; --ours: #58a6ff; --other: #69737e } }
text { fill: var(--ink) } .paper { fill: var(--paper) } .ours { fill: var(--ours) } .other { fill: var(--other) }
.name { text-anchor: end }
"""


def write(path: Path, bars: list[tuple[str, float]]) -> None:
    """Draw a bar for each label; ours in another colour."""
    height = TOP + ROW * len(bars) + 10
    width = LEFT + WIDTH + RIGHT
    title = "Requests per second that change a session, as a share of those without sessions"
    longest = max(value for _, value in bars)
    rows = "\n".join(_bar(TOP + ROW * number, label, value, WIDTH / longest)
                     for number, (label, value) in enumerate(bars))
    path.write_text(f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>{title}</title>
<style>{STYLE}</style>
<rect class="paper" width="{width}" height="{height}"/>
<text x="12" y="22">{title}</text>
{rows}
</svg>
""", "utf-8")


def _bar(top: float, label: str, value: float, scale: float) -> str:
    kind = "ours" if label.startswith("session2") else "other"
    length = value * scale
    return (f'<text class="name" x="{LEFT - 10}" y="{top + 16}">{escape(label)}</text>'
            f'<rect class="{kind}" x="{LEFT}" y="{top + 3}" width="{length:.1f}" height="{ROW - 6}"/>'
            f'<text x="{LEFT + length + 6:.1f}" y="{top + 16}">{value:.2f}</text>')

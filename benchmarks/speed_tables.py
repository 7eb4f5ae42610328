"""Write the tables of docs/speed.md from the committed results of step.py and time_to_quality.py.

python benchmarks/speed_tables.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "speed.md"


def read(name: str) -> dict[str, Any]:
    """Read a committed result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def processor_line(found: dict[str, Any]) -> str:
    """Name the processor and what else ran on it."""
    return f"Processor: {found['machine']} with {', '.join(found['features'])}; one thread; load {found['load']}."


def step_table(found: dict[str, Any]) -> str:
    """Return milliseconds of each part by mode, and below them the step and its share of the peak."""
    modes = found["modes"]
    lines = [f"| ms a batch of {found['batch']} at {found['size']} px | {' | '.join(modes)} |"]
    lines.append("|---|" + "---:|" * len(modes))
    for part in next(iter(modes.values()))["parts_ms"]:
        cells = [f"{mode['parts_ms'][part]:,.1f}" for mode in modes.values()]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    rows = {
        "**the step**": [f"{mode['step_ms']:,.0f}" for mode in modes.values()],
        "images per second and core": [f"{mode['images_per_second']:.1f}" for mode in modes.values()],
        "GFLOP/s": [f"{mode['gflops']}" for mode in modes.values()],
        "peak of the same run, GFLOP/s": [f"{mode['peak_gflops']}" for mode in modes.values()],
        "**share of the peak**": [f"**{mode['peak_share']:.0%}**".replace("%", " %") for mode in modes.values()],
        "decoding, once for all epochs": [f"{mode['decoding_once_ms']:,.0f}" for mode in modes.values()],
    }
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join(lines)


def others_table(found: dict[str, Any]) -> str:
    """Return the time of other ways to compute the step, relative to the library's."""
    modes = found["modes"]
    lines = [f"| instead | {' | '.join(modes)} |", "|---|" + "---:|" * len(modes)]
    for name in sorted(set(next(iter(modes.values()))["step_relative"]) - {"the library's"}):
        cells = [f"{mode['step_relative'][name]:.2f}" for mode in modes.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def quality_table(found: dict[str, Any]) -> str:
    """Return the target of each seed, when both recipes reached it, and the ratio of the times."""
    lines = ["| seed | AUROC to reach | plain: epoch, seconds | ours: epoch, seconds | times as fast |"]
    lines.append("|---:|---:|---:|---:|---:|")
    for each in found["seeds"]:
        target, ratio = each["target_auroc_without_shortcuts"], each["times_as_fast"]["cpu_seconds"]
        cells = [
            next(
                (f"{at['epoch']}, {at['cpu_seconds']:.1f}" for at in each[name] if at["auroc"] >= target), "not reached"
            )
            for name in ("plain", "ours")
        ]
        cells.append("" if ratio is None else f"{ratio:.1f}")
        lines.append(f"| {each['seed']} | {target:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def quality_line(found: dict[str, Any]) -> str:
    """Return the result of the comparison, and whether that is what was aimed at."""
    ratio, precision = found["times_as_fast"], found["precision"]
    met = "met" if found["met"] else "not met"
    if ratio is None:
        return f"In {precision} ours did not reach it with each seed; the aim of {found['aim']:g} is {met}."
    return (
        f"The plain recipe's best AUROC without shortcuts is reached {ratio['mean']:.1f} times as fast in {precision} "
        f"(geometric mean; 95 % interval {ratio['low']:.1f} to {ratio['high']:.1f}); "
        f"the aim of {found['aim']:g} is {met}."
    )


def quality_text(found: dict[str, Any]) -> str:
    """Return the comparison on this processor, and on one that is kept from more than AVX2."""
    native, imitated = found["native"], found["imitated_avx2"]
    size = "{radiographs} radiographs to train on, {validation} to validate on".format
    return "\n\n".join(
        (
            quality_table(native),
            f"{quality_line(native)} {size(**native)}. {processor_line(native)}",
            "With AVX2 alone, imitated:",
            quality_table(imitated),
            f"{quality_line(imitated)} {size(**imitated)}; load {imitated['load']}.",
        )
    )


def demo_text(found: dict[str, Any]) -> str:
    """Return what each step of profile `fast` takes, and all of them against the revision before."""
    (after, *_), total = found["runs"]["after"], found["processor_seconds"]
    lines = ["| step | processor's seconds |", "|---|---:|"]
    lines += [f"| `{name}` | {seconds:.1f} |" for name, seconds in after["processor_seconds"].items()]
    lines.append(f"| **all, with imports** | **{total['after']:.0f}** |")
    lines.append(f"| at revision {found['before']} | {total['before']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Put the tables between the page's marks."""
    step = read("step")
    parts = {"step": f"{step_table(step)}\n\n{processor_line(step)}", "others": others_table(step)}
    parts["quality"] = quality_text(read("time_to_quality"))
    parts["demo"] = demo_text(read("fast_before_after"))
    text = PAGE.read_text(encoding="utf-8")
    for name, table in parts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}{table}\n{end}{rest.split(end)[1]}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

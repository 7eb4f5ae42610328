"""Hold the figures of `benchmarks/serving.py` against the aims, and print them."""

from __future__ import annotations

from typing import Any

VNNI = {"avx_vnni", "avx512_vnni"}


def aims(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each aim with what was found and whether it is met; the ratios are those of one run on one machine."""
    rows = []

    def aim(what: str, value: float, wanted: float, *, least: bool) -> None:
        met = value >= wanted if least else value <= wanted
        rows.append({"what": what, "found": round(value, 3), "least" if least else "most": wanted, "met": met})

    as_it_is = (5.0, 2.0) if VNNI & set(found["features"]) else (2.0, 1.3)
    for part, (first, others), words in ((found, as_it_is, ""), (found["older"], (2.0, 1.3), ", AVX2 only")):
        rates = {name: row["per_second"] for name, row in part["servers"].items()}
        us = rates.pop("pneumonia")
        if plain := rates.pop("fastapi", 0):
            aim(f"times as many requests as FastAPI with torch{words}", us / plain, first, least=True)
        if best := max(rates.values(), default=0):
            aim(f"times as many as the best of the others{words}", us / best, others, least=True)
        aim(f"share of decoding and computing alone{words}", us / part["bare"], 0.75, least=True)
    us = found["servers"]["pneumonia"]
    half, over = found["half_load"], found["overload"]
    aim("p99 at half load, times p50", half["ms_200"]["p99"] / half["ms_200"]["p50"], 4.0, least=False)
    aim("answers at 3 times the peak, share of it", over["per_second"] / us["per_second"], 0.8, least=True)
    aim("ready, seconds", us["ready_seconds"], 2.0, least=False)
    aim("resident memory, MiB", found["memory_after"]["rss_mib"], 300, least=False)
    aim("one process, share of what several reach", us["per_second"] / found["several_processes"], 0.9, least=True)
    return rows


def table(found: dict[str, Any]) -> str:
    """Return the figures as lines."""
    names = ("a second", "times", "p50 ms", "p99 ms", "ready s", "RSS MiB", "AVX2")
    lines = [f"{'server':<36}" + "".join(f"{name:>9}" for name in names)]
    us = found["servers"]["pneumonia"]["per_second"]
    for name, row in found["servers"].items():
        rate, ms = row["per_second"], row["ms"]
        times = f"{us / rate:.1f}" if rate else "-"
        older = found["older"]["servers"][name]["per_second"]
        values = (rate, times, ms["p50"], ms["p99"], row["ready_seconds"], row["memory"]["rss_mib"], older)
        lines.append(f"{row['what']:<36}" + "".join(f"{value:>9}" for value in values))
    alone = {"bare": "decode and compute alone, processes", "threads": "the same, threads of one process"}
    lines += [f"{words:<36}{found[name]:>9}{'':>45}{found['older'][name]:>9}" for name, words in alone.items()]
    lines.append("")
    for row in found["aims"]:
        wanted = f">= {row['least']:g}" if "least" in row else f"<= {row['most']:g}"
        lines.append(f"{'met    ' if row['met'] else 'NOT MET'} {row['what']:<62}{row['found']:>9g} {wanted:>9}")
    lines.append("Not a medical device.")
    return "\n".join(lines)

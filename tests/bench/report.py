"""What was measured, beside what it is measured against and what it should be: as a table and as JSON."""

import json
import statistics

HEADINGS = ("row", "work", "measured", "against", "ratio", "goal", "met")
WIDTHS = (9, 50, 10, 10, 6, 24, 3)


class Report:
    """Lines of the table, printed as they come."""

    def __init__(self, about):
        self.about = about
        self.lines = []

    def header(self):
        print(", ".join(f"{name} {value}" for name, value in self.about.items()))
        print(row_of(HEADINGS), flush=True)

    def line(self, row, work, unit, values, against=None, goals=(), **more):
        """Medians of `values` and of what they are measured against, pair by pair. `goals` are pairs of a measure
        (`median`, `most`, `ratio`, or a name of `more`) and what it may be at most; `more` are figures beside them."""
        line = {"row": row, "work": work, "unit": unit, "median": statistics.median(values), "most": max(values),
                "values": values, **more}
        if against:
            line["against"] = against
            line["against_median"] = statistics.median(against)
            # The median of the ratios of the pairs: what disturbs one run mostly disturbs its neighbour.
            ratios = [ours / theirs for ours, theirs in zip(values, against) if theirs]
            line["ratio"] = statistics.median(ratios) if ratios else None
        line["goals"] = [{"measure": name, "at_most": limit, "met": line[name] <= limit} for name, limit in goals]
        line["met"] = all(goal["met"] for goal in line["goals"]) if goals else None
        self.lines.append(line)
        print(printed(line), flush=True)
        if more:
            figures = ", ".join(f"{name} {number(value)}" for name, value in more.items())
            print(" " * (WIDTHS[0] + 4) + figures, flush=True)

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({**self.about, "lines": self.lines}, file, indent=2)
            file.write("\n")

    def summary(self):
        judged = [line for line in self.lines if line["met"] is not None]
        missed = [f"{line['row']} ({line['work']})" for line in judged if not line["met"]]
        text = f"{len(judged) - len(missed)} of {len(judged)} goals met"
        return text + (f"; not met: {', '.join(missed)}" if missed else "")


def printed(line):
    unit = line["unit"]
    against = f"{number(line['against_median'])} {unit}" if "against" in line else ""
    ratio = f"{line['ratio']:.2f}" if line.get("ratio") is not None else ""
    goals = ", ".join(wanted(goal, unit) for goal in line["goals"])
    met = {None: "", True: "yes", False: "NO"}[line["met"]]
    return row_of((line["row"], line["work"], f"{number(line['median'])} {unit}", against, ratio, goals, met))


def wanted(goal, unit):
    limit = number(goal["at_most"])
    if goal["measure"] == "ratio":
        return f"<= {limit}x"
    if goal["measure"] in ("median", "most"):
        return f"<= {limit} {unit}" if goal["at_most"] else "none"
    return f"{goal['measure']} <= {limit}"


def number(value):
    """With three digits that say something, and no more than three behind the point."""
    if isinstance(value, (int, str)):
        return str(value)
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def row_of(cells):
    numeric = (False, False, True, True, True, False, False)
    parts = (f"{cell:>{width}}" if right else f"{cell:<{width}}" for cell, width, right in zip(cells, WIDTHS, numeric))
    return "  ".join(parts).rstrip()

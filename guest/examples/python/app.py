"""Turns `team.csv` into an org: one row for each agent, with the agent that it reports to.

    name,reports to,role,runtime,model,tier
    Chief,,Keeps the goals,claude-code,,2
    Writer,Chief,Writes the handbook,,,1
"""

import csv
import io

from orghost_plan import Problems, plan, read_text, slug, workspace
from wit_world import exports
from wit_world.exports import importer

FILE = "team.csv"
COLUMNS = ["name", "reports to", "role", "runtime", "model", "tier"]


class Importer(exports.Importer):
    def describe(self):
        return importer.Description("team-csv", "0.1.0", ["team-csv/1"])

    def import_org(self, request):
        problems = Problems()
        file = request.entry or FILE
        rows = read_rows(read_text(file, problems), file, problems)
        problems.refuse()
        return plan("Team", tree(rows, request))


def read_rows(text, file, problems):
    """The rows by agent, in the order of the file. The import ends when the file has an error."""
    # `csv.DictReader` is not used, because every message needs the line of its row.
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    rows = {}
    slugs = {}
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        for column in header:
            if column not in COLUMNS:
                help = "the columns are " + ", ".join(COLUMNS)
                problems.add("column-unknown", f"there is no column {column!r}", file, 1, help)
        if "name" not in header:
            problems.add("column-missing", "the column `name` is missing", file, 1)
        problems.refuse()
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                message = f"this row has {len(cells)} cells, and the header has {len(header)}"
                problems.add("row-length", message, file, line)
                continue
            row = dict(zip(header, (cell.strip() for cell in cells)), line=line)
            name = row["name"]
            own = slug(name)
            if not own:
                problems.add("name-invalid", "a name needs a letter from a to z, or a digit", file, line)
            elif own in slugs:
                message = f"{name!r} is also in line {slugs[own]}"
                problems.add("name-twice", message, file, line, "rename one of the two")
            else:
                slugs[own] = line
                rows[name] = row
            if row.get("tier") and row["tier"] not in ("1", "2", "3", "4"):
                problems.add("tier-invalid", f"there is no tier {row['tier']!r}", file, line, "tiers are 1, 2, 3 and 4")
    except csv.Error as error:
        problems.add("csv-invalid", f"this is not CSV: {error}", file, reader.line_num)
    if not rows:
        problems.add("team-empty", "the team has no agents", file)
    for name, row in rows.items():
        boss = row.get("reports to")
        if boss and boss not in rows:
            message = f"{name!r} reports to {boss!r}, who is not in the file"
            problems.add("boss-unknown", message, file, row["line"])
    problems.refuse()
    for name, row in rows.items():
        seen = {name}
        boss = row.get("reports to")
        while boss and boss not in seen:
            seen.add(boss)
            boss = rows[boss].get("reports to")
        if boss == name:
            message = f"{name!r} reports to itself, through a circle of {len(seen)} agents"
            problems.add("boss-cycle", message, file, row["line"])
    return rows


def tree(rows, request):
    """The workspaces, depth first, so that a parent comes before its children."""
    reports = {}
    for name, row in rows.items():
        reports.setdefault(row.get("reports to") or None, []).append(name)
    # This is a list, and not recursion, because the template decides how deep it gets.
    waiting = [(name, None, 0) for name in reversed(reports.get(None, []))]
    while waiting:
        name, parent, depth = waiting.pop()
        row = rows[name]
        made = workspace(
            name,
            parent,
            request,
            role=row.get("role", ""),
            runtime=row.get("runtime") or "claude-code",
            model=row.get("model"),
            tier=int(row.get("tier") or 2),
            canvas=(280.0 * depth, 140.0 * list(rows).index(name)),
        )
        yield made
        waiting += [(child, made.key, depth + 1) for child in reversed(reports.get(name, []))]

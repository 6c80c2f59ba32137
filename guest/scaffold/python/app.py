"""__NAME__: turns `team.txt` into an org. Each line is an agent, `name: role`.

When you change the rules, change the cases too.
"""

from orghost_plan import Problems, plan, read_text, slug, workspace
from wit_world import exports
from wit_world.exports import importer

FILE = "team.txt"


class Importer(exports.Importer):
    def describe(self):
        return importer.Description("__NAME__", "0.1.0", ["__NAME__/1"])

    def import_org(self, request):
        problems = Problems()
        file = request.entry or FILE
        agents = {}
        for number, line in enumerate(read_text(file, problems).splitlines(), start=1):
            name, _, role = (part.strip() for part in line.partition(":"))
            if not line.strip():
                continue
            if not slug(name):
                problems.add("name-invalid", "a name needs a letter from a to z, or a digit", file, number)
            elif slug(name) in agents:
                problems.add("name-twice", f"{name!r} is listed a second time", file, number, "rename one of the two")
            else:
                agents[slug(name)] = workspace(name, None, request, role=role)
        if not agents:
            problems.add("team-empty", "the team has no agents", file, help="write `name: role` in a line")
        problems.refuse()
        return plan("__NAME__", agents.values())

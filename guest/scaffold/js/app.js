// __NAME__: turns `team.txt` into an org. Each line is an agent, `name: role`. When you change the rules, change the cases too.

import { Problems, plan, readText, slug, workspace } from "./orghost-plan.js";

const FILE = "team.txt";

export const importer = {
  describe() {
    return { name: "__NAME__", version: "0.1.0", handles: ["__NAME__/1"] };
  },

  importOrg(request) {
    const problems = new Problems();
    const file = request.entry || FILE;
    const agents = new Map();
    readText(file, problems).split(/\r?\n/).forEach((line, index) => {
      if (line.trim() === "") return;
      const [name, ...role] = line.split(":");
      const key = slug(name);
      if (key === "") {
        problems.add("name-invalid", "a name needs a letter from a to z, or a digit", file, index + 1);
      } else if (agents.has(key)) {
        problems.add("name-twice", `'${name.trim()}' is listed a second time`, file, index + 1, "rename one of the two");
      } else {
        agents.set(key, workspace(name.trim(), undefined, request, { role: role.join(":").trim() }));
      }
    });
    if (agents.size === 0) {
      problems.add("team-empty", "the team has no agents", file, 0, "write `name: role` in a line");
    }
    problems.refuse();
    return plan("__NAME__", [...agents.values()]);
  },
};

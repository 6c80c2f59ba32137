// Turns an outline into an org: each heading is an agent, a deeper heading reports to the heading above it, and the prose
// under a heading is the agent's prompt. `- key: value` lines before the prose are settings (role, runtime, model, tier).
//
//     # Studio
//     ## Chief
//     - role: Keeps the goals
//     You lead a small studio.
//     ### Writer

import { Problems, plan, readText, seed, slug, workspace } from "./orghost-plan.js";

const FILE = "org.md";
const SETTINGS = ["role", "runtime", "model", "tier"];

export const importer = {
  describe() {
    return { name: "outline", version: "0.1.0", handles: ["outline/1"] };
  },

  importOrg(request) {
    const problems = new Problems();
    const file = request.entry || FILE;
    const outline = parse(readText(file, problems), file, problems);
    const workspaces = agents(outline, request, file, problems);
    problems.refuse();
    return plan(outline.name, workspaces, outline.prose.join("\n").trim());
  },
};

/** The org, and its sections in order. The first heading is the org's. All lines in a fenced block are prose. */
function parse(text, file, problems) {
  let org;
  let section;
  let fenced = false;
  const sections = [];
  text.split(/\r?\n/).forEach((line, index) => {
    if (/^\s*```/.test(line)) fenced = !fenced;
    const heading = fenced ? null : /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    const setting = fenced ? null : /^- ([a-z]+):\s*(.*?)\s*$/.exec(line);
    if (heading) {
      const [, marks, name] = heading;
      section = { name, depth: marks.length, line: index + 1, settings: {}, prose: [] };
      if (org === undefined) org = section;
      else sections.push(section);
    } else if (setting && section && section !== org && section.prose.every((line) => line === "")) {
      set(section, setting[1], setting[2], file, index + 1, problems);
    } else if (section) {
      section.prose.push(line);
    } else if (line.trim() !== "") {
      problems.add("before-heading", "this line is before the first heading", file, index + 1);
    }
  });
  if (org === undefined || org.name === "" || org.depth !== 1) {
    const help = "begin with `# ` and the org's name";
    problems.add("org-missing", "the outline does not begin with the org's name", file, org?.line ?? 1, help);
    problems.refuse();
  }
  return { ...org, sections };
}

function set(section, key, value, file, line, problems) {
  if (!SETTINGS.includes(key)) {
    const help = `the settings are ${SETTINGS.join(", ")}`;
    problems.add("setting-unknown", `there is no setting "${key}"`, file, line, help);
  } else if (key === "tier" && !/^[1-4]$/.test(value)) {
    problems.add("tier-invalid", `there is no tier "${value}"`, file, line, "tiers are 1, 2, 3 and 4");
  } else {
    section.settings[key] = key === "tier" ? Number(value) : value;
  }
}

/** The agents, depth first, in the order of the headings. */
function agents(outline, request, file, problems) {
  // The keys of the agents above the current heading, by depth. The first entry is the org, which has no key.
  const above = [undefined];
  const lines = new Map();
  const made = [];
  for (const { name, depth, line, settings, prose } of outline.sections) {
    if (depth === 1 || depth > above.length + 1) {
      const wrong = depth === 1 ? "a file has only one `#` heading" : "this heading skips a level";
      problems.add("heading-level", wrong, file, line, `write at most ${above.length + 1} \`#\`, and at least two`);
      continue;
    }
    above.length = depth - 1;
    if (slug(name) === "") {
      problems.add("name-invalid", "a name needs a letter from a to z, or a digit", file, line);
      continue;
    }
    const prompt = prose.join("\n").trim();
    const files = prompt === "" ? [] : [seed("system-prompt.md", `${prompt}\n`)];
    const canvas = { x: 280 * (depth - 2), y: 140 * made.length };
    const agent = workspace(name, above.at(-1), request, { ...settings, files, canvas });
    if (lines.has(agent.key)) {
      problems.add("name-twice", `"${name}" is also in line ${lines.get(agent.key)}`, file, line, "rename one of the two");
    }
    lines.set(agent.key, line);
    made.push(agent);
    above.push(agent.key);
  }
  if (outline.sections.length === 0) {
    problems.add("org-empty", "the org has no agents", file, outline.line, "give each agent a `##` heading");
  }
  return made;
}

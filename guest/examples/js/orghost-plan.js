// What every plugin in JavaScript needs: files of the template, problems with their places, workspaces with sane
// defaults. It knows nothing of any template's rules: those are in app.js. Copy it, and change what you like.

import { read } from "orghost:plugin/template-files@0.1.0";

const WHY = {
  "not-found": "it is not there",
  "invalid-path": "its path leads out of the template",
  "wrong-kind": "it is a folder",
  "too-large": "it is larger than 8 MiB",
};

/** Everything that is wrong with a template, so that its author learns it at once. */
export class Problems {
  #found = [];

  /** One problem; `line` counts from 1, and 0 is unknown. No message may hold a variable's value. */
  add(code, message, file, line = 0, help = undefined) {
    this.#found.push({ code, message, place: { file, line, column: 0 }, help });
  }

  /** Ends the import if there is any problem. */
  refuse() {
    if (this.#found.length > 0) throw this.#found;
  }
}

/** A text file of the template; when it cannot be read the import ends. */
export function readText(path, problems) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(read(path));
  } catch (error) {
    const said = error?.payload ?? error;
    if (typeof said?.tag === "string") {
      const why = WHY[said.tag] ?? `the system says: ${said.val}`;
      problems.add("file-unreadable", `${path} cannot be read: ${why}`, path);
    } else {
      problems.add("not-utf-8", "this file is not UTF-8 text", path);
    }
    problems.refuse();
  }
}

/** `Dev Lead (EU)` becomes `dev-lead-eu`; empty when the name has no letters or digits of ASCII. */
export function slug(name) {
  const words = name.toLowerCase().match(/[a-z0-9]+/g) ?? [];
  return words.join("-").slice(0, 63).replace(/-$/, "");
}

/** A workspace that runs on this machine. `parent` is a key, or undefined; `files` are further seed files. */
export function workspace(name, parent, request, settings = {}) {
  const { role = "", runtime = "claude-code", model, tier = 2, files = [], canvas = { x: 0, y: 0 } } = settings;
  const config = [`name: ${yaml(name)}`, `description: ${yaml(role)}`, 'version: "1.0.0"'];
  config.push(`tier: ${tier}`, `runtime: ${yaml(runtime)}`);
  if (model !== undefined) config.push(`model: ${yaml(model)}`);
  const seeded = [seed("config.yaml", `${config.join("\n")}\n`), ...files];
  return {
    key: parent === undefined ? slug(name) : `${parent}/${slug(name)}`,
    parent,
    name,
    role,
    runtime,
    model,
    tier,
    external: false,
    workspaceAccess: "none",
    plugins: [],
    files: seeded.sort((a, b) => (a.path < b.path ? -1 : 1)),
    // The operator's variables are part of every workspace's environment, and may be secrets.
    env: request.environment.vars.map(({ name, value }) => ({ name, value, secret: true })),
    schedules: [],
    channels: [],
    skippedChannels: [],
    memories: [],
    maxConcurrentTasks: 1,
    canvas,
  };
}

/** A file under `/configs` with this text. */
export function seed(path, text) {
  return { path, content: { tag: "inline", val: new TextEncoder().encode(text) }, secret: false };
}

/** The plan; a parent must stand before its children. */
export function plan(name, workspaces, description = "", warnings = []) {
  return { org: { name, description }, workspaces, requiredEnv: [], recommendedEnv: [], warnings };
}

// A text of JSON is one of YAML, in double quotes.
const yaml = (text) => JSON.stringify(text);

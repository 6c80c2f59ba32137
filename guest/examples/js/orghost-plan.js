// A library for plugins in JavaScript: reads files of the template, collects errors with their places, and makes workspaces
// with default settings. The rules of the template are in app.js. Copy this file and change it as you like.

import { read } from "orghost:plugin/template-files@0.1.0";

const WHY = {
  "not-found": "it is not there",
  "invalid-path": "its path leads out of the template",
  "wrong-kind": "it is a folder",
  "too-large": "it is larger than 8 MiB",
};

/** Collects the errors of a template, so that its author sees all of them together. */
export class Problems {
  #found = [];

  /** Adds an error. `line` counts from 1, and 0 means unknown. A message must not contain the value of a variable. */
  add(code, message, file, line = 0, help = undefined) {
    this.#found.push({ code, message, place: { file, line, column: 0 }, help });
  }

  /** Ends the import when there are errors. */
  refuse() {
    if (this.#found.length > 0) throw this.#found;
  }
}

/** Reads a text file of the template. The import ends when the file cannot be read. */
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

/** Makes a slug: `Dev Lead (EU)` becomes `dev-lead-eu`. Empty when the name has no ASCII letters or digits. */
export function slug(name) {
  const words = name.toLowerCase().match(/[a-z0-9]+/g) ?? [];
  return words.join("-").slice(0, 63).replace(/-$/, "");
}

/** A workspace. `parent` is the key of its parent, or undefined. `files` are more seed files, besides config.yaml. */
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
    // Every workspace gets the operator's variables. They may be secrets.
    env: request.environment.vars.map(({ name, value }) => ({ name, value, secret: true })),
    schedules: [],
    channels: [],
    skippedChannels: [],
    memories: [],
    maxConcurrentTasks: 1,
    canvas,
  };
}

/** A seed file, which the host writes under `/configs` with this text. */
export function seed(path, text) {
  return { path, content: { tag: "inline", val: new TextEncoder().encode(text) }, secret: false };
}

/** The plan. A parent must come before its children. */
export function plan(name, workspaces, description = "", warnings = []) {
  return { org: { name, description }, workspaces, requiredEnv: [], recommendedEnv: [], warnings };
}

// A JSON string is also a YAML string.
const yaml = (text) => JSON.stringify(text);

// A plan, shown before the user confirms it: policy violations, warnings, the planned workspaces and what changes.

import { make } from './dom.js';
import { diagnosticList } from './notices.js';
import { many } from './words.js';

/** A section that shows a plan. `present` holds the workspaces of the org when it exists already, else `null`. */
export function planSection(plan, present) {
  const changes = changesOf(plan.workspaces, present);
  const heading = make('h2', { id: 'plan', tabindex: '-1' }, `Plan: ${plan.org.name}`);
  return make('section', { class: 'card plan', 'aria-labelledby': 'plan' },
    heading,
    plan.org.description && make('p', {}, plan.org.description),
    make('p', { class: 'summary' }, summaryOf(plan, changes, present)),
    plan.violations.length > 0 && make('div', { class: 'notice bad', role: 'alert' },
      make('strong', {}, 'Policy refuses this plan'), diagnosticList(plan.violations.map(forThisPage))),
    plan.warnings.length > 0 && make('div', { class: 'notice warn' },
      make('strong', {}, many(plan.warnings.length, 'warning')), diagnosticList(plan.warnings)),
    make('ul', { class: 'planned', 'aria-label': 'Planned workspaces' },
      plan.workspaces.map((workspace) => plannedLine(workspace, changes.get(workspace.key))),
      goneOf(plan.workspaces, present).map(goneLine)),
    plan.log?.length > 0 && make('details', {}, make('summary', {}, 'Output of the plugin'), make('pre', { class: 'log', tabindex: '0' }, plan.log.join('\n'))));
}

/** How the plan changes each workspace, by its key: `new`, `same`, or `changed` with the fields that differ. */
function changesOf(planned, present) {
  const there = new Map((present ?? []).map((workspace) => [workspace.key, workspace]));
  return new Map(planned.map((workspace) => [workspace.key, changeOf(workspace, there.get(workspace.key))]));
}

/** Replaces help that names command-line flags with help for this page. */
const forThisPage = (violation) => (violation.code === 'missing-env' ? { ...violation, help: 'set it under Variables' } : violation);

const COMPARED = ['name', 'runtime', 'tier', 'external'];

function changeOf(planned, there) {
  if (there === undefined) return { word: 'new' };
  const differences = COMPARED.filter((field) => String(planned[field]) !== String(there[field]));
  if (differences.length === 0) return { word: 'same' };
  return { word: 'changed', detail: differences.map((field) => `${field} ${there[field]} → ${planned[field]}`).join(', ') };
}

function goneOf(planned, present) {
  const keys = new Set(planned.map(({ key }) => key));
  return (present ?? []).filter(({ key }) => !keys.has(key));
}

function summaryOf(plan, changes, present) {
  const total = many(plan.workspaces.length, 'workspace');
  if (!present) return `${total}, all new`;
  const count = (word) => [...changes.values()].filter((change) => change.word === word).length;
  const gone = goneOf(plan.workspaces, present).length;
  return `${total}. The org exists already: ${count('new')} new, ${count('changed')} changed, ${count('same')} with the same name, runtime and tier, ${gone} no longer in the template. Files and variables are compared when the org is brought up.`;
}

const TONES = { new: 'good', changed: 'warn', same: 'wait' };

function plannedLine(workspace, { word, detail }) {
  const facts = [
    workspace.external ? 'external' : workspace.runtime,
    workspace.model,
    `tier ${workspace.tier}`,
    many(workspace.files.length, 'file'),
    workspace.schedules.length > 0 && many(workspace.schedules.length, 'schedule'),
    workspace.channels.length > 0 && many(workspace.channels.length, 'channel'),
    workspace.workspace_dir && `mounts ${workspace.workspace_dir} (${workspace.workspace_access})`,
  ].filter(Boolean);
  const depth = Math.min(5, workspace.key.split('/').length - 1);
  return make('li', { class: `depth-${depth}` },
    make('div', { class: 'line' },
      make('b', {}, workspace.name), make('span', { class: `badge ${TONES[word]}` }, word), make('span', { class: 'hint' }, facts.join(' · '))),
    detail && make('div', { class: 'help' }, detail),
    workspace.role && make('div', { class: 'role' }, workspace.role),
    workspace.skipped_channels.map(({ type, reason }) => make('div', { class: 'help' }, `The channel ${type} is skipped: ${reason}`)));
}

function goneLine(workspace) {
  return make('li', {}, make('div', { class: 'line' },
    make('b', {}, workspace.name), make('span', { class: 'badge bad' }, 'not in the template'),
    make('span', { class: 'hint' }, 'kept, unless you choose to remove such workspaces')));
}

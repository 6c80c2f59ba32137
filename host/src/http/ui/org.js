// The view of one org: its tree of workspaces with live states, its operations, its events, and the selected workspace.

import { importAddress, orgAddress } from './address.js';
import { getJson, pathOf, sendJson } from './api.js';
import { announce, fill, fillWhenChanged, make, setAttribute, setText } from './dom.js';
import { EventList } from './events.js';
import { actionButton, confirmTakeDown, diagnosticList, problemNotice } from './notices.js';
import { WorkspaceTree } from './tree.js';
import { WorkspacePanel } from './workspace.js';
import { countsOf, durationOf, isUnderWay, isWorthSaying, many, sentenceOf, stateOf, timeOf, titleOf, toneOfOperation } from './words.js';

const SHOWN_OPERATIONS = 8;
/** Past events arrive within this time after the view opens. They are not announced to screen readers. */
const QUIET_MS = 1500;

/** Shows an org in `main`. `select(key)` shows one of its workspaces beside the tree. */
export class OrgView {
  #org;
  #main;
  #selected;
  #status = null;
  #panel = null;
  #steps = new Map();
  #progress = new Map();
  #known = new Set();
  #opened = performance.now();
  #changed;

  #title = make('h1', { tabindex: '-1' });
  #summary = make('p', { class: 'summary' });
  #notices = make('div', { class: 'notices' });
  #now = make('div', { class: 'now' });
  #operations = make('ul', { class: 'operations', 'aria-label': 'Operations' });
  #beside = make('div', { class: 'beside' });
  #tree;
  #events;
  #actions;
  #again = make('a', { class: 'button' }, 'Bring up to date…');

  constructor(main, org, key, { live }) {
    this.#main = main;
    this.#org = org;
    this.#tree = new WorkspaceTree((one) => orgAddress(org, one), 'Workspaces');
    this.#events = new EventList((_, one) => this.#nameOf(one), 'Events, the newest first');
    this.#build();
    this.select(key);
    this.#changed = live({
      org,
      after: 0,
      refresh: (signal) => this.#refresh(signal),
      onProblem: (problem) => this.#showProblem(problem),
      onEvent: (event) => this.#take(event),
    });
  }

  /** Shows a workspace beside the tree, or none when `key` is undefined. */
  select(key) {
    if (this.#selected === key && key !== undefined) return;
    const before = this.#selected;
    this.#selected = key;
    this.#panel?.end();
    this.#panel = null;
    fill(this.#beside);
    setAttribute(this.#main.firstElementChild, 'data-place', key === undefined ? 'org' : 'workspace');
    if (this.#status) this.#show(true);
    if (key === undefined && before !== undefined) this.#tree.focus(before);
  }

  end() {
    this.#panel?.end();
  }

  #build() {
    setText(this.#title, this.#org);
    const down = actionButton('Take down…', () => this.#takeDown(), { class: 'danger' });
    this.#actions = make('div', { class: 'actions' }, this.#again, down.button);
    const section = (id, title, ...children) => make('section', { class: `card ${id}`, 'aria-labelledby': id },
      make('h2', { id }, title), ...children);
    this.#main.replaceChildren(make('div', { class: 'org-view' },
      make('nav', { class: 'crumbs', 'aria-label': 'Breadcrumb' },
        make('a', { class: 'to-orgs', href: '#/' }, '‹ Orgs'), make('a', { class: 'to-org', href: orgAddress(this.#org) }, '‹ All workspaces')),
      make('div', { class: 'head' }, make('div', {}, this.#title, this.#summary), this.#actions),
      down.failure, this.#notices, this.#now,
      make('div', { class: 'columns' },
        make('div', { class: 'left' }, section('workspaces', 'Workspaces', this.#tree.element), section('done', 'Operations', this.#operations)),
        make('div', { class: 'right' }, this.#beside, section('events', 'Events', this.#events.element)))));
  }

  async #takeDown() {
    const how = await confirmTakeDown(this.#status?.name ?? this.#org);
    if (how === null) return;
    const operation = await sendJson('DELETE', `${pathOf('orgs', this.#org)}?volumes=${how.volumes}`);
    this.#known.add(operation.id);
    this.#changed();
  }

  async #refresh(signal) {
    const [status, operations] = await Promise.all([this.#readStatus(signal), this.#readOperations(signal)]);
    this.#status = status;
    this.#showOperations(operations);
    this.#show();
  }

  /** Reads the org's status; `null` when the org does not exist. */
  async #readStatus(signal) {
    try {
      return await getJson(pathOf('orgs', this.#org), signal);
    } catch (problem) {
      if (problem.status === 404) return null;
      throw problem;
    }
  }

  /** Reads the newest operations, the newest first. When the server does not list them, reads those that events named. */
  async #readOperations(signal) {
    let operations;
    try {
      ({ operations } = await getJson(pathOf('orgs', this.#org, 'operations'), signal));
    } catch (problem) {
      if (!problem.isNotOffered) throw problem;
      const ids = [...this.#known].slice(-SHOWN_OPERATIONS);
      const answers = await Promise.allSettled(ids.map((id) => getJson(pathOf('operations', id), signal)));
      operations = answers.filter(({ status }) => status === 'fulfilled').map(({ value }) => value);
    }
    return operations.sort((one, other) => other.began_ms - one.began_ms).slice(0, SHOWN_OPERATIONS);
  }

  #show(isNew = false) {
    const { name, engine, template, workspaces = [], engine_error: away, cut_off: cut = [] } = this.#status ?? {};
    const states = new Map(workspaces.map((workspace) => [workspace.key, stateOf(workspace, this.#steps.get(workspace.key))]));
    setText(this.#title, name ?? this.#org);
    document.title = `${name ?? this.#org} · orghost`;
    setText(this.#summary, this.#status ? `${countsOf(states.values())} · on ${engine} · from ${template}` : '');
    setAttribute(this.#again, 'href', importAddress(template ?? ''));
    this.#actions.hidden = !this.#status;
    fillWhenChanged(this.#notices, [away, cut, !this.#status], () => [
      !this.#status && make('p', { class: 'notice' }, 'This org is not on this host. ', make('a', { href: '#/' }, 'All orgs')),
      away && make('p', { class: 'notice bad', role: 'alert' }, `The engine does not answer: ${away}. The states below are unknown.`),
      cut.length > 0 && make('p', { class: 'notice' }, 'An operation was interrupted. The next operation resumes from there.'),
    ]);
    this.#tree.show(workspaces, ({ key }) => states.get(key), this.#selected);
    this.#tree.element.hidden = workspaces.length === 0;
    this.#showPanel(workspaces, states, isNew);
  }

  #showPanel(workspaces, states, isNew) {
    if (this.#selected === undefined) return;
    const workspace = workspaces.find(({ key }) => key === this.#selected);
    if (!workspace) {
      this.#panel?.end();
      this.#panel = null;
      fill(this.#beside, make('p', { class: 'notice' }, 'This org has no workspace with this key.'));
      return;
    }
    if (!this.#panel) {
      this.#panel = new WorkspacePanel(orgAddress(this.#org), () => this.#changed());
      fill(this.#beside, this.#panel.element);
    }
    this.#panel.show(workspace, states.get(workspace.key));
    if (isNew) this.#panel.focus();
  }

  #showOperations(operations) {
    const underWay = operations.filter(isUnderWay);
    fillWhenChanged(this.#now, underWay.map((one) => [one, this.#progressOf(one)]), () => underWay.map((one) => this.#banner(one)));
    const ended = operations.filter((one) => !isUnderWay(one));
    fillWhenChanged(this.#operations, [ended, this.#status?.workspaces.length], () => (ended.length > 0
      ? ended.map((one) => this.#endedLine(one))
      : [make('li', { class: 'hint' }, 'No operation has ended yet.')]));
  }

  #progressOf({ id }) {
    const { total, settled } = this.#progress.get(id) ?? {};
    return total === undefined ? undefined : { total, done: Math.min(total, settled.size) };
  }

  #banner(operation) {
    const { total, done } = this.#progressOf(operation) ?? {};
    const label = `${titleOf(operation.operation)}${operation.workspace ? ` ${this.#nameOf(operation.workspace)}` : ''}`;
    const cancel = actionButton('Cancel', async () => {
      await sendJson('DELETE', pathOf('operations', operation.id));
      this.#changed();
    }, { 'aria-label': `Cancel: ${label}` });
    return make('div', { class: 'card operation-now' },
      make('b', {}, label), make('span', { class: `badge ${toneOfOperation(operation.state)}` }, operation.state),
      total !== undefined && make('progress', { max: total, value: done, 'aria-label': `${label}: ${done} of ${total}` }),
      total !== undefined && make('span', { class: 'hint' }, `${done} of ${total}`),
      cancel.button, cancel.failure);
  }

  #endedLine(operation) {
    const { state, failed, errors = [], began_ms: began, ended_ms: ended } = operation;
    return make('li', { 'data-state': state },
      make('div', { class: 'line' },
        make('b', {}, titleOf(operation.operation)), operation.workspace && ` ${this.#nameOf(operation.workspace)}`,
        make('span', { class: `badge ${toneOfOperation(state)}` }, state),
        failed > 0 && make('span', { class: 'badge bad' }, `${many(failed, 'workspace')} failed`),
        make('span', { class: 'hint' }, timeOf(began), ended !== undefined && ` · took ${durationOf(ended - began)}`)),
      errors.length > 0 && diagnosticList(errors));
  }

  #take(event) {
    this.#known.delete(event.operation_id);
    this.#known.add(event.operation_id);
    this.#events.add(event);
    this.#follow(event);
    if (isWorthSaying(event) && performance.now() - this.#opened > QUIET_MS) {
      const { subject, text } = sentenceOf(event, (_, key) => this.#nameOf(key));
      announce(`${subject} ${text}`);
    }
  }

  /** Keeps what only events report: the step of each workspace, and the progress of each operation. */
  #follow({ event, operation_id: operation, workspace, step, workspaces: total }) {
    if (event === 'began') this.#progress.set(operation, { total, settled: new Set() });
    if (event === 'began' || event === 'ended' || event === 'broke') this.#steps.clear();
    if (workspace === undefined) return;
    if (event === 'step') this.#steps.set(workspace, step);
    else {
      this.#steps.delete(workspace);
      this.#progress.get(operation)?.settled.add(workspace);
    }
  }

  #nameOf(key) {
    if (key === undefined) return this.#status?.name ?? this.#org;
    return this.#status?.workspaces.find((workspace) => workspace.key === key)?.name ?? key;
  }

  #showProblem(problem) {
    fillWhenChanged(this.#notices, problem.errors, () => [problemNotice(problem)]);
  }
}

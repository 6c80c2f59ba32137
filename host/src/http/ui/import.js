// The view of an import: choose a template, set its variables, read the plan, confirm. Nothing is created before the
// confirmation.

import { orgAddress } from './address.js';
import { allOrgs, allTemplates, getJson, pathOf, sendJson } from './api.js';
import { announce, fill, freshId, make } from './dom.js';
import { problemNotice } from './notices.js';
import { planSection } from './plan.js';
import { Variables } from './variables.js';
import { many } from './words.js';

const SOURCES = { template: 'A template of this server', inline: 'Paste an org.yaml', archive: 'Upload an archive' };

/** Shows the import in `main`. `wanted` is the name of the template that is chosen first. */
export class ImportView {
  #source = 'template';
  #wanted;
  #templates = [];
  #variables = new Variables();
  #options = new Options();
  #list = make('div', { class: 'templates' });
  #sources = {};
  #outcome = make('div', { class: 'outcome' });
  #planButton = make('button', { class: 'primary' }, 'Show the plan');
  #form;

  constructor(main, wanted, { live }) {
    this.#wanted = wanted;
    this.#sources = {
      template: this.#list,
      inline: make('textarea', { 'aria-label': 'org.yaml', rows: '14', spellcheck: 'false', autocapitalize: 'off', placeholder: 'name: My org\nworkspaces:\n  - name: Lead' }),
      archive: make('input', { type: 'file', 'aria-label': 'Archive: .tar, .tar.gz or .tgz', accept: '.tar,.tar.gz,.tgz,.gz,application/gzip,application/x-tar' }),
    };
    this.#form = make('form', { class: 'import', novalidate: true, on: { submit: (event) => this.#submit(event), input: () => this.#forgetPlan() } },
      make('fieldset', { class: 'card' }, make('legend', {}, 'Template'), this.#sourceChoice(), Object.values(this.#sources)),
      this.#variables.element, this.#options.element,
      make('div', { class: 'actions' }, this.#planButton));
    main.replaceChildren(
      make('nav', { class: 'crumbs', 'aria-label': 'Breadcrumb' }, make('a', { href: '#/' }, '‹ Orgs')),
      make('div', { class: 'head' }, make('h1', { tabindex: '-1' }, 'Import an org')),
      this.#form, this.#outcome);
    document.title = 'Import · orghost';
    this.#variables.ask([], []);
    this.#choose('template');
    // The view needs no events, but the header shows the state of this connection.
    live({ refresh: async () => {}, onEvent: () => {}, onProblem: () => {} });
    this.#readTemplates();
  }

  /** Clears the values, which can be secrets, when the view closes. */
  end() {
    this.#variables.clear();
  }

  #sourceChoice() {
    return make('div', { class: 'segments', role: 'radiogroup', 'aria-label': 'Where the template is' },
      Object.entries(SOURCES).map(([source, label]) => {
        const id = freshId('source');
        return [
          make('input', { type: 'radio', name: 'source', id, value: source, checked: source === this.#source, on: { change: () => this.#choose(source) } }),
          make('label', { for: id }, label),
        ];
      }));
  }

  #choose(source) {
    this.#source = source;
    for (const [name, element] of Object.entries(this.#sources)) element.hidden = name !== source;
    this.#askVariables();
  }

  async #readTemplates() {
    fill(this.#list, make('p', { class: 'hint' }, 'Loading templates…'));
    try {
      const templates = await allTemplates();
      this.#templates = templates;
      fill(this.#list, templates.length > 0
        ? templates.map((template) => this.#templateChoice(template))
        : make('p', { class: 'hint' }, 'This server has no templates. Paste or upload one.'));
    } catch (problem) {
      fill(this.#list, problem.isNotOffered
        ? make('p', { class: 'hint' }, 'This server does not list templates. Paste or upload one.')
        : problemNotice(problem));
    }
    this.#askVariables();
  }

  #templateChoice(template) {
    const { name, org, description, workspaces, problem } = template;
    const id = freshId('template');
    const input = make('input', { type: 'radio', name: 'template', id, value: name, checked: name === this.#wanted, on: { change: () => this.#askVariables() } });
    return make('label', { class: 'template', for: id }, input,
      make('span', { class: 'about' },
        make('b', {}, org || name), ' ', make('code', {}, name),
        typeof workspaces === 'number' && make('span', { class: 'hint' }, ` · ${many(workspaces, 'workspace')}`),
        description && make('span', { class: 'description' }, description),
        problem && make('span', { class: 'why' }, problem.detail)));
  }

  #chosenTemplate() {
    const name = this.#list.querySelector('input:checked')?.value;
    return this.#templates.find((template) => template.name === name);
  }

  #askVariables() {
    const template = this.#source === 'template' ? this.#chosenTemplate() : undefined;
    this.#variables.ask(template?.required_env ?? [], template?.recommended_env ?? []);
    this.#forgetPlan();
  }

  /** Removes the plan, because the form has changed since it was made. */
  #forgetPlan() {
    fill(this.#outcome);
  }

  async #submit(event) {
    event.preventDefault();
    await this.#busy(this.#planButton, async () => {
      const problem = this.#missingInput();
      if (problem) return this.#refuse(problem);
      const body = await this.#body();
      const plan = await sendJson('POST', '/v1/plans', body);
      this.#variables.ask(plan.required_env, plan.recommended_env);
      this.#showPlan(plan, await presentOrg(plan.org.name), body);
    });
  }

  #missingInput() {
    const { inline, archive } = this.#sources;
    if (this.#source === 'template' && !this.#chosenTemplate()) return 'Choose a template first.';
    if (this.#source === 'inline' && inline.value.trim() === '') return 'Paste the text of an org.yaml first.';
    if (this.#source === 'archive' && archive.files.length === 0) return 'Choose a file first.';
    return undefined;
  }

  #refuse(message) {
    fill(this.#outcome, problemNotice({ message }));
    const input = this.#source === 'template' ? this.#list.querySelector('input') : this.#sources[this.#source];
    input?.focus();
  }

  /** The body of the request: JSON, or for an archive a form with the parts `request` and `archive`. */
  async #body() {
    const request = { ...this.#options.values(), env: this.#variables.values() };
    if (this.#source === 'template') return { ...request, template: this.#chosenTemplate().name };
    if (this.#source === 'inline') return { ...request, inline: this.#sources.inline.value };
    const form = new FormData();
    form.append('request', new Blob([JSON.stringify(request)], { type: 'application/json' }));
    form.append('archive', this.#sources.archive.files[0]);
    return form;
  }

  #showPlan(plan, present, body) {
    const section = planSection(plan, present?.workspaces ?? null);
    const isRefused = plan.violations.length > 0;
    // Each try sends the same key, so that the server does not accept the import twice.
    const key = { 'idempotency-key': freshKey() };
    const button = make('button', { type: 'button', class: 'primary', on: { click: () => this.#busy(button, async () => {
      const operation = await sendJson('POST', '/v1/orgs', body, key);
      announce(`The import of ${plan.org.name} was accepted`);
      location.hash = orgAddress(operation.org);
    }) } }, present ? `Bring ${plan.org.name} up to date` : `Import ${plan.org.name}`);
    fill(this.#outcome, section, isRefused
      ? make('p', { class: 'hint' }, 'You can import it when the plan has no violations.')
      : make('div', { class: 'actions' }, button));
    if (isRefused && plan.missing_env.length > 0 && this.#variables.focusMissing()) return announce('Required variables have no value');
    section.querySelector('h2').focus();
  }

  /** Runs `work` for a button, one run at a time, and shows a problem above the plan. */
  async #busy(button, work) {
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    this.#outcome.querySelector(':scope > .notice')?.remove();
    try {
      await work();
    } catch (problem) {
      this.#outcome.prepend(problemNotice(problem, 'The request failed'));
      this.#outcome.firstElementChild.scrollIntoView({ block: 'nearest' });
    } finally {
      button.removeAttribute('aria-disabled');
    }
  }
}

/** The options of an import, beside its template and variables. */
class Options {
  #engine = make('select', { id: freshId('engine') }, [['', 'the server’s default'], ['docker', 'docker'], ['swarm', 'swarm'], ['local', 'local']]
    .map(([value, label]) => make('option', { value }, label)));
  #ready = make('input', { id: freshId('ready'), type: 'number', min: '0', max: '86400', value: '120', inputmode: 'numeric' });
  #flags = {};
  element;

  constructor() {
    const flag = (name, label) => {
      this.#flags[name] = make('input', { type: 'checkbox', id: freshId('flag') });
      return make('label', { class: 'choice', for: this.#flags[name].id }, this.#flags[name], make('span', {}, label));
    };
    this.element = make('details', { class: 'card options' }, make('summary', {}, 'Options'),
      make('div', { class: 'variable' }, make('label', { for: this.#engine.id }, 'Engine'), this.#engine),
      make('div', { class: 'variable' }, make('label', { for: this.#ready.id }, 'Seconds to wait until each workspace is ready'), this.#ready),
      flag('prune', 'Remove workspaces that are no longer in the template'),
      flag('yes', 'Allow that removal to take more than half of the running workspaces'),
      flag('skip_external', 'Skip !external subtrees instead of failing'),
      flag('keep_failed', 'Keep a failed container for diagnosis instead of rolling back to the previous one'));
  }

  values() {
    const flags = Object.entries(this.#flags).map(([name, input]) => [name, input.checked]);
    const seconds = Number(this.#ready.value);
    return {
      ...Object.fromEntries(flags),
      ...(this.#engine.value && { engine: this.#engine.value }),
      ...(seconds > 0 && { ready_seconds: seconds }),
    };
  }
}

/** The status of the org with this name, or undefined when there is none. */
async function presentOrg(name) {
  const found = (await allOrgs()).find((org) => org.name === name);
  return found && getJson(pathOf('orgs', found.org));
}

/** A random key. `crypto.randomUUID` is missing on pages that are served over plain HTTP. */
function freshKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

// The variables of an import: those that the template requires or recommends, and others that the user adds. Values are kept
// in their inputs and nowhere else.

import { fill, freshId, make, setAttribute, setText } from './dom.js';
import { namesOf } from './words.js';

/** A fieldset of variables. `ask` sets which ones are shown; `values` returns those that have a value. */
export class Variables {
  #fields = new Map();
  #asked = make('div', { class: 'variables' });
  #more = make('div', { class: 'variables' });
  element;

  constructor() {
    const add = make('button', { type: 'button', class: 'quiet', on: { click: () => this.#addFree() } }, 'Add a variable');
    this.element = make('fieldset', { class: 'card' },
      make('legend', {}, 'Variables'),
      make('p', { class: 'hint' }, 'The server stores values encrypted. This page does not store them.'),
      this.#asked, this.#more, add);
  }

  /** Shows an input for each variable. A variable that is shown already keeps its value. */
  ask(required, recommended) {
    const fields = new Map();
    const all = [...required.map((one) => [one, true]), ...recommended.map((one) => [one, false])];
    for (const [requirement, isRequired] of all) {
      const names = namesOf(requirement);
      const known = JSON.stringify([names, isRequired]);
      fields.set(known, this.#fields.get(known) ?? new Field(names, isRequired));
    }
    this.#fields = fields;
    fill(this.#asked, fields.size === 0
      ? make('p', { class: 'hint' }, 'No variables are known to be needed. The plan can name more.')
      : [...fields.values()].map((field) => field.element));
  }

  /** `{NAME: value}` without the empty ones. */
  values() {
    const values = {};
    for (const field of this.#fields.values()) if (field.value !== '') values[field.name] = field.value;
    for (const row of this.#more.children) {
      const [name, value] = row.querySelectorAll('input');
      if (name.value.trim() !== '') values[name.value.trim()] = value.value;
    }
    return values;
  }

  /** Marks required variables without a value and moves the focus to the first. Returns whether there was one. */
  focusMissing() {
    const missing = [...this.#fields.values()].filter((field) => field.showsMissing());
    missing[0]?.input.scrollIntoView({ block: 'center' });
    missing[0]?.input.focus();
    return missing.length > 0;
  }

  clear() {
    for (const input of this.element.querySelectorAll('input')) input.value = '';
  }

  #addFree() {
    const name = make('input', { 'aria-label': 'Name', placeholder: 'NAME', autocomplete: 'off', spellcheck: 'false', pattern: '[A-Za-z_][A-Za-z0-9_]*' });
    const value = make('input', { 'aria-label': 'Value', type: 'password', autocomplete: 'new-password', placeholder: 'value' });
    const remove = make('button', { type: 'button', class: 'quiet', 'aria-label': 'Remove this variable', on: { click: () => row.remove() } }, 'Remove');
    const row = make('div', { class: 'variable free' }, name, value, remove);
    this.#more.append(row);
    name.focus();
  }
}

/** The input of one requirement, which one of several names can satisfy. */
class Field {
  #choice = null;
  #complaint = make('span', { class: 'why', id: freshId('complaint') });

  constructor(names, isRequired) {
    const id = freshId('variable');
    this.names = names;
    this.isRequired = isRequired;
    this.input = make('input', { id, type: 'password', autocomplete: 'new-password', spellcheck: 'false', required: isRequired, 'aria-describedby': this.#complaint.id,
      on: { input: () => this.showsMissing() } });
    const label = make('label', { for: id }, names.length === 1 ? make('code', {}, names[0]) : 'One of these',
      make('span', { class: `badge ${isRequired ? 'warn' : 'wait'}` }, isRequired ? 'required' : 'recommended'));
    if (names.length > 1) this.#choice = make('select', { 'aria-label': 'Which variable' }, names.map((name) => make('option', {}, name)));
    this.element = make('div', { class: 'variable' }, label, this.#choice, this.input, this.#complaint);
  }

  get name() {
    return this.#choice?.value ?? this.names[0];
  }

  get value() {
    return this.input.value;
  }

  /** Shows beside the input whether a required value is missing, and returns that. */
  showsMissing() {
    const isMissing = this.isRequired && this.value === '';
    setAttribute(this.input, 'aria-invalid', isMissing && 'true');
    setText(this.#complaint, isMissing ? 'This variable needs a value.' : '');
    return isMissing;
  }
}

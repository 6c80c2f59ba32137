// The tree of an org's workspaces: nested lists of links with keyboard navigation. Updates reuse the rows, so that the focus
// stays.

import { make, setAttribute, setText, webLink } from './dom.js';
import { STEPS } from './words.js';

/** The tree. `show` updates it; `linkOf(key)` returns the address of a workspace. */
export class WorkspaceTree {
  #linkOf;
  #rows = new Map();
  #order = '';
  #closed = new Set();
  element;

  constructor(linkOf, label) {
    this.#linkOf = linkOf;
    this.element = make('ul', { class: 'tree', 'aria-label': label, on: { keydown: (event) => this.#onKey(event) } });
  }

  /** Updates the tree. `stateOf` returns a workspace's state; `selected` is the key of the workspace shown beside the tree. */
  show(workspaces, stateOf, selected) {
    const order = JSON.stringify(workspaces.map(({ key }) => key));
    if (order !== this.#order) this.#build(workspaces);
    this.#order = order;
    for (const workspace of workspaces) this.#rows.get(workspace.key).show(workspace, stateOf(workspace), workspace.key === selected);
  }

  /** Moves the focus to a workspace. */
  focus(key) {
    this.#rows.get(key)?.link.focus();
  }

  #build(workspaces) {
    const focused = this.#focusedKey();
    const rows = new Map();
    const roots = [];
    for (const { key } of workspaces) {
      const row = this.#rows.get(key) ?? new Row(key, this.#linkOf(key), () => this.#toggle(key));
      row.children.replaceChildren();
      rows.set(key, row);
      const parent = rows.get(parentOf(key, rows));
      if (parent) parent.children.append(row.element);
      else roots.push(row.element);
    }
    this.#rows = rows;
    this.element.replaceChildren(...roots);
    for (const key of rows.keys()) this.#mark(key);
    if (focused) rows.get(focused)?.link.focus();
  }

  #toggle(key) {
    if (!this.#closed.delete(key)) this.#closed.add(key);
    this.#mark(key);
  }

  #mark(key) {
    const row = this.#rows.get(key);
    row.showChildren(!this.#closed.has(key));
  }

  #focusedKey() {
    return [...this.#rows].find(([, row]) => row.link === document.activeElement)?.[0];
  }

  #onKey(event) {
    const key = this.#focusedKey();
    if (key === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const row = this.#rows.get(key);
    const visible = [...this.#rows.values()].filter(({ link }) => link.checkVisibility());
    const at = visible.indexOf(row);
    const isOpen = row.hasChildren && !this.#closed.has(key);
    const moves = {
      ArrowDown: () => visible[at + 1]?.link.focus(),
      ArrowUp: () => visible[at - 1]?.link.focus(),
      Home: () => visible[0].link.focus(),
      End: () => visible.at(-1).link.focus(),
      ArrowRight: () => (row.hasChildren && !isOpen ? this.#toggle(key) : isOpen && visible[at + 1].link.focus()),
      ArrowLeft: () => (isOpen ? this.#toggle(key) : this.#rows.get(parentOf(key, this.#rows))?.link.focus()),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  }
}

/** One row of the tree: a workspace. */
class Row {
  children = make('ul');
  #toggle;
  #name = make('span', { class: 'name' });
  #state = make('span', { class: 'state' });
  #steps = make('span', { class: 'steps', role: 'img' }, STEPS.map(() => make('i')));
  #detail = make('span', { class: 'detail' });
  #address = make('span', { class: 'address' });

  constructor(key, link, onToggle) {
    this.key = key;
    this.#toggle = make('button', { class: 'toggle', type: 'button', on: { click: onToggle } });
    this.link = make('a', { href: link }, this.#name);
    this.row = make('div', { class: 'row', 'data-key': key },
      this.#toggle, make('span', { class: 'dot', 'aria-hidden': 'true' }), this.link, this.#state, this.#steps, this.#address, this.#detail);
    this.element = make('li', {}, this.row);
  }

  get hasChildren() {
    return this.children.childElementCount > 0;
  }

  show(workspace, { word, tone, step, detail }, isSelected) {
    setAttribute(this.row, 'data-tone', tone);
    setAttribute(this.row, 'data-state', word);
    setAttribute(this.link, 'aria-current', isSelected && 'true');
    setText(this.#name, workspace.name);
    setText(this.#state, step && step !== 'remove' ? `${word}: ${step}` : word);
    setText(this.#detail, detail ?? '');
    setAttribute(this.#toggle, 'aria-label', `Workspaces below ${workspace.name}`);
    this.#showStep(step);
    this.#showAddress(workspace);
  }

  showChildren(isOpen) {
    this.#toggle.classList.toggle('none', !this.hasChildren);
    setAttribute(this.#toggle, 'aria-expanded', this.hasChildren && String(isOpen));
    if (this.hasChildren) this.element.append(this.children);
    else this.children.remove();
    this.children.hidden = !isOpen;
  }

  #showStep(step) {
    const at = STEPS.indexOf(step);
    this.#steps.hidden = at < 0;
    setAttribute(this.#steps, 'aria-label', `step ${at + 1} of ${STEPS.length}: ${step}`);
    [...this.#steps.children].forEach((part, index) => setAttribute(part, 'class', index < at ? 'past' : index === at ? 'now' : null));
  }

  #showAddress({ url }) {
    if (this.#address.textContent === (url ?? '')) return;
    this.#address.replaceChildren(...(url ? [webLink(url)] : []));
  }
}

/** The nearest ancestor that is in the tree. */
function parentOf(key, rows) {
  for (let end = key.lastIndexOf('/'); end > 0; end = key.lastIndexOf('/', end - 1)) {
    const parent = key.slice(0, end);
    if (rows.has(parent)) return parent;
  }
  return undefined;
}

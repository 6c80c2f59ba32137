// The panel of one workspace: its state, its actions and its log.

import { followText, pathOf, sendJson } from './api.js';
import { fill, fillWhenChanged, make, setAttribute, setText, webLink } from './dom.js';
import { actionButton, problemNotice } from './notices.js';

/** How much of a log is shown. Older lines are dropped first. */
const MOST_LINES = 2000;
const MOST_PARTS = 2000;

/** The panel of a workspace. `show` updates it; `end` stops following its log. */
export class WorkspacePanel {
  #heading = make('h2', { id: 'workspace-name', tabindex: '-1' });
  #state = make('span', { class: 'state' });
  #facts = make('dl', { class: 'facts' });
  #buttons;
  #failures;
  #logBox = make('div', { class: 'log-box' });
  #log;
  #logOf;
  #workspace;
  element;

  constructor(backLink, onDone) {
    const action = (label, word) => actionButton(label, async () => {
      await sendJson('POST', pathOf('workspaces', this.#workspace.id, word));
      onDone();
    });
    this.#buttons = { restart: action('Restart', 'restart'), stop: action('Stop', 'stop'), start: action('Start', 'start') };
    const all = Object.values(this.#buttons);
    this.#failures = make('div', {}, all.map(({ failure }) => failure));
    this.element = make('section', { class: 'card workspace', 'aria-labelledby': 'workspace-name' },
      make('div', { class: 'head' },
        this.#heading, this.#state, make('a', { class: 'button quiet close', href: backLink, 'aria-label': 'Close this workspace' }, 'Close')),
      this.#facts, make('div', { class: 'actions' }, all.map(({ button }) => button)), this.#failures, this.#logBox);
  }

  show(workspace, { word, tone, detail }) {
    this.#workspace = workspace;
    setText(this.#heading, workspace.name);
    setText(this.#state, word);
    setAttribute(this.element, 'data-tone', tone);
    fillWhenChanged(this.#facts, [workspace, detail], () => factsOf(workspace, detail));
    const canStart = workspace.wanted === 'stopped' || word === 'stopped';
    this.#buttons.restart.button.hidden = workspace.external || canStart;
    this.#buttons.stop.button.hidden = workspace.external || canStart;
    this.#buttons.start.button.hidden = workspace.external || !canStart;
    if (this.#logOf !== workspace.id) this.#showLog(workspace);
  }

  focus() {
    this.#heading.focus();
  }

  end() {
    this.#log?.stop();
  }

  #showLog(workspace) {
    this.#logOf = workspace.id;
    this.end();
    if (workspace.external) return;
    this.#log = new Log(pathOf('workspaces', workspace.id, 'logs'));
    fill(this.#logBox, this.#log.element);
    this.#log.follow();
  }
}

function factsOf(workspace, detail) {
  const fact = (name, value) => value && [make('dt', {}, name), make('dd', {}, value)];
  return [
    fact('Why', detail && make('span', { class: 'why' }, detail)),
    fact('Address', workspace.url && webLink(workspace.url)),
    fact('Key', make('code', {}, workspace.key)),
    fact('Runtime', `${workspace.runtime || 'none'} · tier ${workspace.tier}`),
    fact('Id', make('code', {}, workspace.id)),
  ];
}

/** The log of a workspace, followed until the user stops it. It scrolls with new lines unless the user scrolled up. */
class Log {
  #path;
  #text = make('pre', { class: 'log', role: 'log', 'aria-live': 'off', 'aria-label': 'Log of this workspace', tabindex: '0' });
  #button = make('button', { type: 'button', class: 'quiet', on: { click: () => (this.#following ? this.stop() : this.follow()) } });
  #status = make('span', { class: 'hint' });
  #failure = make('div');
  #following = null;
  element;

  constructor(path) {
    this.#path = path;
    this.element = make('section', { 'aria-label': 'Log' },
      make('div', { class: 'head' }, make('h3', {}, 'Log'), this.#status, this.#button), this.#failure, this.#text);
  }

  async follow() {
    const following = new AbortController();
    this.#following = following;
    fill(this.#text);
    fill(this.#failure);
    // A page in the back/forward cache must not hold a connection.
    addEventListener('pagehide', () => this.stop(), { signal: following.signal });
    this.#say('following', 'Stop following');
    try {
      await followText(`${this.#path}?follow=true&tail=${MOST_LINES}`, following.signal, (text) => this.#append(text));
      this.#ended(following, 'the log ended');
    } catch (problem) {
      if (following.signal.aborted) return;
      this.#ended(following, '');
      fill(this.#failure, problem.isNotOffered
        ? make('p', { class: 'hint' }, 'This workspace has no log.')
        : problemNotice(problem));
    }
  }

  stop() {
    this.#following?.abort();
    this.#ended(this.#following, 'stopped');
  }

  #ended(following, why) {
    if (this.#following !== following) return;
    this.#following = null;
    this.#say(why, 'Follow');
  }

  #say(status, label) {
    setText(this.#status, status);
    setText(this.#button, label);
  }

  #append(text) {
    const isAtEnd = this.#text.scrollHeight - this.#text.scrollTop - this.#text.clientHeight < 24;
    this.#text.append(withoutColours(text));
    while (this.#text.childNodes.length > MOST_PARTS) this.#text.firstChild.remove();
    if (isAtEnd) this.#text.scrollTop = this.#text.scrollHeight;
  }
}

/** Removes terminal escape sequences, which a browser cannot show. */
const withoutColours = (text) => text.replaceAll(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, '');

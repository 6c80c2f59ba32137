// Notices about problems, buttons that report them, and dialogs that ask the user.

import { fill, freshId, make } from './dom.js';
import { placeOf } from './words.js';

/** A notice with all errors of a problem: message, place and help. */
export function problemNotice(problem, title) {
  const errors = problem.errors ?? [{ message: problem.message }];
  return make('div', { class: 'notice bad', role: 'alert' }, title && make('strong', {}, title), diagnosticList(errors));
}

/** A list of diagnostics, each with its place and its help. */
export function diagnosticList(diagnostics) {
  return make('ul', { class: 'diagnostics' }, diagnostics.map((diagnostic) => {
    const place = placeOf(diagnostic);
    return make('li', {},
      diagnostic.message, ' ', diagnostic.code && make('code', { class: 'code' }, diagnostic.code),
      place && make('div', { class: 'place' }, place),
      diagnostic.help && make('div', { class: 'help' }, diagnostic.help));
  }));
}

/** A button that runs `act`, one run at a time. `failure` is an element that shows why the last run failed. */
export function actionButton(label, act, { class: kind = '', ...attributes } = {}) {
  const failure = make('div', { class: 'failure' });
  const button = make('button', { type: 'button', class: kind, ...attributes, on: { click: press } }, label);
  async function press() {
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    fill(failure);
    try {
      await act();
    } catch (problem) {
      fill(failure, problemNotice(problem));
    } finally {
      button.removeAttribute('aria-disabled');
    }
  }
  return { button, failure };
}

/** Asks for a token; `null` when the user gives none. */
export async function askForToken(isWrong) {
  const input = make('input', { type: 'password', id: freshId('token'), autocomplete: 'off', required: true, spellcheck: 'false' });
  const given = await ask({
    title: 'Enter a token',
    body: [
      isWrong && make('p', { class: 'notice bad' }, 'The server rejected this token.'),
      make('p', {}, 'The server requires a token. This page keeps it until you close the tab.'),
      make('label', { for: input.id }, 'Token'), input,
      make('p', { class: 'hint' }, make('code', {}, 'orghost token new NAME --scope write'), ' creates one.'),
    ],
    confirm: 'Use this token',
  });
  return given && input.value !== '' ? input.value.trim() : null;
}

/** Asks whether to take an org down: `{volumes}` when the user confirms, else `null`. */
export async function confirmTakeDown(name) {
  const volumes = make('input', { type: 'checkbox', id: freshId('volumes') });
  const given = await ask({
    title: `Take down “${name}”?`,
    body: [
      make('p', {}, 'This stops and removes all its workspaces.'),
      make('label', { class: 'choice', for: volumes.id }, volumes,
        make('span', {}, 'Remove the volumes too. This deletes the agents’ own work permanently.')),
    ],
    confirm: `Take “${name}” down`,
    kind: 'danger',
  });
  return given ? { volumes: volumes.checked } : null;
}

/** Asks a question with two answers. The dialog keeps the focus, returns it when it closes, and closes with Escape. */
function ask({ title, body, confirm, kind = 'primary' }) {
  const heading = make('h2', { id: freshId('title') }, title);
  const dialog = make('dialog', { 'aria-labelledby': heading.id });
  const form = make('form', { method: 'dialog' }, heading, body,
    make('div', { class: 'actions' },
      // A dangerous question starts with the focus on "Cancel".
      make('button', { type: 'button', autofocus: kind === 'danger', on: { click: () => dialog.close() } }, 'Cancel'),
      make('button', { class: kind, value: 'yes' }, confirm)));
  // The page's Content-Security-Policy blocks all form submissions, also those with the method `dialog`.
  form.addEventListener('submit', (event) => (event.preventDefault(), dialog.close('yes')));
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => (dialog.remove(), resolve(dialog.returnValue === 'yes')));
  });
}

// What went wrong, and questions to whoever sits in front of the page.

import { fill, freshId, make } from './dom.js';
import { placeOf } from './words.js';

/** Everything that is wrong: message, place, help. */
export function problemNotice(problem, title) {
  const errors = problem.errors ?? [{ message: problem.message }];
  return make('div', { class: 'notice bad', role: 'alert' }, title && make('strong', {}, title), diagnosticList(errors));
}

/** Diagnostics, each with its place and what to do about it. */
export function diagnosticList(diagnostics) {
  return make('ul', { class: 'diagnostics' }, diagnostics.map((diagnostic) => {
    const place = placeOf(diagnostic);
    return make('li', {},
      diagnostic.message, ' ', diagnostic.code && make('code', { class: 'code' }, diagnostic.code),
      place && make('div', { class: 'place' }, place),
      diagnostic.help && make('div', { class: 'help' }, diagnostic.help));
  }));
}

/** Does something when a button is pressed, once at a time, and shows under it why it could not be done. */
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

/** A token, or `null` when nobody wants to give one. */
export async function askForToken(isWrong) {
  const input = make('input', { type: 'password', id: freshId('token'), autocomplete: 'off', required: true, spellcheck: 'false' });
  const given = await ask({
    title: 'A token, please',
    body: [
      isWrong && make('p', { class: 'notice bad' }, 'The server does not take the token that this page has.'),
      make('p', {}, 'The server wants a token. This page keeps it until its tab is closed.'),
      make('label', { for: input.id }, 'Token'), input,
      make('p', { class: 'hint' }, make('code', {}, 'orghost token new NAME --scope write'), ' makes one.'),
    ],
    confirm: 'Use this token',
  });
  return given && input.value !== '' ? input.value.trim() : null;
}

/** `{volumes}` when the org is to be taken down, `null` when it is not. */
export async function confirmTakeDown(name) {
  const volumes = make('input', { type: 'checkbox', id: freshId('volumes') });
  const given = await ask({
    title: `Take down “${name}”?`,
    body: [
      make('p', {}, 'All its workspaces are stopped and removed.'),
      make('label', { class: 'choice', for: volumes.id }, volumes,
        make('span', {}, 'Remove the volumes too: the agents’ own work is lost for good')),
    ],
    confirm: `Take “${name}” down`,
    kind: 'danger',
  });
  return given ? { volumes: volumes.checked } : null;
}

/** A question with two answers. The dialog holds the focus, gives it back, and closes with Escape. */
function ask({ title, body, confirm, kind = 'primary' }) {
  const heading = make('h2', { id: freshId('title') }, title);
  const dialog = make('dialog', { 'aria-labelledby': heading.id });
  const form = make('form', { method: 'dialog' }, heading, body,
    make('div', { class: 'actions' },
      // The harmless answer has the focus, when there is nothing to type.
      make('button', { type: 'button', autofocus: kind === 'danger', on: { click: () => dialog.close() } }, 'Cancel'),
      make('button', { class: kind, value: 'yes' }, confirm)));
  // The page's policy lets no form be sent anywhere, not even to a dialog.
  form.addEventListener('submit', (event) => (event.preventDefault(), dialog.close('yes')));
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => (dialog.remove(), resolve(dialog.returnValue === 'yes')));
  });
}

// The page: which view is shown, the token, and whether the server is heard. The place is in the address's hash.

import { forgetToken, onTokenWanted, token } from './api.js';
import { setAttribute, setText } from './dom.js';
import { ImportView } from './import.js';
import { live } from './live.js';
import { askForToken } from './notices.js';
import { OrgView } from './org.js';
import { orgsView } from './orgs.js';

const main = document.getElementById('main');
const connection = document.getElementById('connection');
const enterToken = document.getElementById('enter-token');
const forget = document.getElementById('forget-token');

let shown = { place: null, view: null, ending: new AbortController() };
/** Nobody wanted to give a token: they are not asked again and again. */
let isRefused = false;

onTokenWanted(async (isWrong) => {
  if (isRefused) return null;
  const given = await askForToken(isWrong);
  isRefused = given === null;
  // The token is kept after this returns.
  setTimeout(showTokenButtons);
  return given;
});

enterToken.addEventListener('click', () => {
  isRefused = false;
  start();
});
forget.addEventListener('click', () => {
  forgetToken();
  isRefused = false;
  start();
});
addEventListener('hashchange', go);
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});

/** Shows what the hash names, anew. */
function start() {
  showTokenButtons();
  shown.place = null;
  go();
}

/** Shows what the hash names; a view that shows it already is told, and kept. */
function go() {
  const { view, place, parts, query } = placeOf(location.hash);
  if (shown.place === place) {
    shown.view.select?.(workspaceOf(parts));
    return;
  }
  const isFirst = shown.view === null;
  shown.ending.abort();
  shown.view?.end?.();
  const ending = new AbortController();
  const host = { live: (wants) => live({ signal: ending.signal, onConnection: showConnection, ...wants }) };
  document.title = 'orghost';
  shown = { place, view: null, ending };
  shown.view = VIEWS[view](host, parts, query) ?? {};
  if (isFirst) return;
  scrollTo(0, 0);
  (main.querySelector('h1') ?? main).focus();
}

/** What a hash names: `#/`, `#/orgs/{org}`, `#/orgs/{org}/{workspace's key}`, `#/import?template={name}`. */
function placeOf(hash) {
  const [path, query] = hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map(decoded);
  if (parts[0] === 'import') return { view: 'import', place: hash, parts, query: new URLSearchParams(query) };
  if (parts[0] === 'orgs' && parts[1]) return { view: 'org', place: `orgs/${parts[1]}`, parts };
  return { view: 'orgs', place: 'orgs', parts };
}

const workspaceOf = (parts) => parts.slice(2).join('/') || undefined;

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function showTokenButtons() {
  enterToken.hidden = !isRefused;
  forget.hidden = token() === null;
}

function showConnection(state, pause) {
  setAttribute(connection, 'data-state', state);
  setText(connection, state === 'live' ? 'live' : `disconnected; trying again in ${Math.max(1, Math.round(pause / 1000))} s`);
  showTokenButtons();
}

const VIEWS = {
  orgs: (host) => orgsView(main, host),
  org: (host, parts) => new OrgView(main, parts[1], workspaceOf(parts), host),
  import: (host, _, query) => new ImportView(main, query.get('template'), host),
};

start();

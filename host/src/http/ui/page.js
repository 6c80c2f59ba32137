// Starts the page: shows the view that the address names, asks for a token, and shows the state of the connection.
//
// The modules form layers, and a module imports from the layers before its own only. A test in page.rs checks this.
//
//   1. address.js  api.js  dom.js  words.js     no imports
//   2. live.js  events.js  notices.js  tree.js  variables.js
//   3. plan.js  workspace.js                    parts of one view
//   4. orgs.js  org.js  import.js               the views
//   5. page.js                                  nothing imports it

import { parseAddress } from './address.js';
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

const VIEWS = {
  orgs: (host) => orgsView(main, host),
  org: (host, { org, key }) => new OrgView(main, org, key, host),
  import: (host, { template }) => new ImportView(main, template, host),
};

let shown = { id: null, view: null, ending: new AbortController() };
/** Whether the user closed the question for a token. The page then asks again only when the user presses "Enter token". */
let isRefused = false;

onTokenWanted(async (isWrong) => {
  if (isRefused) return null;
  const given = await askForToken(isWrong);
  isRefused = given === null;
  // api.js stores the token after this function returns, so the buttons are updated later.
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

/** Builds the view that the address names, also when it is shown already. */
function start() {
  showTokenButtons();
  shown.id = null;
  go();
}

/** Shows what the address names. A view that is shown already is kept, and only selects another workspace. */
function go() {
  const address = parseAddress(location.hash);
  if (shown.id === address.id) {
    shown.view.select?.(address.key);
    return;
  }
  const isFirst = shown.view === null;
  shown.ending.abort();
  shown.view?.end?.();
  const ending = new AbortController();
  const host = { live: (options) => live({ signal: ending.signal, onConnection: showConnection, ...options }) };
  document.title = 'orghost';
  shown = { id: address.id, view: null, ending };
  shown.view = VIEWS[address.view](host, address) ?? {};
  if (isFirst) return;
  scrollTo(0, 0);
  (main.querySelector('h1') ?? main).focus();
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

start();

// Requests to the server's HTTP API, and its stream of events. Keeps the token; shows nothing.

const TOKEN = 'orghost-token';
/** The server sends something at least every 15 seconds. After this long without data the connection is considered lost. */
const SILENCE_MS = 40_000;
/** The longest wait between two tries to reconnect. */
const LONGEST_PAUSE_MS = 15_000;

/** An error answer of the server (RFC 9457). `status` is 0 when the server could not be reached. */
export class Problem extends Error {
  constructor(status, { detail, title, errors = [] } = {}) {
    super(detail || title || `the server answered ${status}`);
    this.status = status;
    this.errors = errors.length > 0 ? errors : [{ message: this.message }];
  }

  /** Whether the server does not have this route or resource. */
  get isNotOffered() {
    return this.status === 404 || this.status === 405;
  }
}

let askForToken = async () => null;
let asking = null;

/** Sets the function that asks the user for a token: `ask(isWrong)` resolves to a token, or to `null` when the user gives none. */
export function onTokenWanted(ask) {
  askForToken = ask;
}

export const token = () => sessionStorage.getItem(TOKEN);
export const forgetToken = () => sessionStorage.removeItem(TOKEN);

/** Sends a request, and asks for a token when the server answers 401. Throws a `Problem` unless the answer is a success. */
export async function request(method, path, { body, headers = {}, signal } = {}) {
  for (;;) {
    const used = token();
    const response = await send(method, path, { body, signal, headers: { ...headers, ...bearer(used) } });
    if (response.ok) return response;
    const isAnswered = response.status === 401 && (token() !== used || (await newToken(used !== null)));
    if (!isAnswered) throw await problemOf(response);
  }
}

export async function getJson(path, signal) {
  return (await request('GET', path, { signal })).json();
}

/** Reads all pages of a collection, such as `orgs`. */
async function getAll(collection, query, signal) {
  const all = [];
  let next;
  do {
    const text = new URLSearchParams({ ...query, ...(next && { after: next }) }).toString();
    const page = await getJson(`/v1/${collection}${text && `?${text}`}`, signal);
    all.push(...page[collection]);
    next = page.next;
  } while (next);
  return all;
}

export const allOrgs = (signal) => getAll('orgs', { limit: 500 }, signal);
export const allTemplates = () => getAll('templates', {});

/** Sends a value as JSON, or a form as it is, and reads JSON. */
export async function sendJson(method, path, value, headers = {}) {
  const isForm = value instanceof FormData;
  const body = value === undefined || isForm ? value : JSON.stringify(value);
  const type = body === undefined || isForm ? {} : { 'content-type': 'application/json' };
  const response = await request(method, path, { body, headers: { ...type, ...headers } });
  return response.json();
}

/** The path of a resource. Each part is percent-encoded. */
export function pathOf(...parts) {
  return `/v1/${parts.map(encodeURIComponent).join('/')}`;
}

/**
 * Follows events until `signal` aborts, and reconnects after a lost connection. Each event is delivered once and in order.
 * Without `after`, only new events are delivered. `onConnection` is called with `live`, or with `lost` and the milliseconds
 * until the next try.
 *
 * A hidden page holds no connection and resumes when it is visible again. Browsers allow six connections to a server, shared
 * by all tabs and by the pages in the back/forward cache.
 */
export async function followEvents({ org, after, signal, onEvent, onConnection }) {
  let last = after;
  let tries = 0;
  while (!signal.aborted) {
    await untilVisible(signal);
    const connection = new Connection(signal);
    try {
      const response = await request('GET', eventsPath(org, last), { signal: connection.signal, headers: lastSeen(last) });
      onConnection('live');
      for await (const message of messages(response.body, () => connection.heard())) {
        tries = 0;
        // A message without an id says that older events were deleted. The page reads the current state anyway.
        if (message.id === undefined) continue;
        last = message.id;
        if (message.data) onEvent(JSON.parse(message.data));
      }
    } catch (error) {
      if (!(error instanceof Problem) && error.name !== 'AbortError') console.info(error);
    } finally {
      connection.end();
    }
    if (signal.aborted) return;
    if (document.hidden) continue;
    const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** tries) * (0.75 + Math.random() / 2);
    tries += 1;
    onConnection('lost', pause);
    await sleep(pause, signal);
  }
}

/** Follows a text, part by part, until it ends or `signal` aborts. */
export async function followText(path, signal, onText) {
  const response = await request('GET', path, { signal });
  for await (const text of parts(response.body)) onText(text);
}

export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}

async function send(method, path, options) {
  try {
    return await fetch(path, { method, cache: 'no-store', credentials: 'omit', redirect: 'error', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, { detail: 'The server does not answer.' });
  }
}

async function problemOf(response) {
  try {
    return new Problem(response.status, await response.json());
  } catch {
    return new Problem(response.status, { detail: `The server answered ${response.status} ${response.statusText}`.trim() });
  }
}

const bearer = (token) => (token === null ? {} : { authorization: `Bearer ${token}` });

/** Asks for a token once, also when several requests need it at the same time. */
async function newToken(isWrong) {
  asking ??= askForToken(isWrong).finally(() => (asking = null));
  const given = await asking;
  if (given !== null) sessionStorage.setItem(TOKEN, given);
  return given !== null;
}

function eventsPath(org, after) {
  const query = new URLSearchParams();
  if (org !== undefined) query.set('org', org);
  if (after !== undefined) query.set('after', after);
  return `/v1/events?${query}`;
}

const lastSeen = (last) => (last === undefined ? {} : { 'last-event-id': String(last) });

/** One connection. `signal` aborts after too long without data, when the page is hidden, and when `outer` aborts. */
class Connection {
  #controller = new AbortController();
  #ended = new AbortController();
  #timer;

  constructor(outer) {
    outer.addEventListener('abort', this.#abort, { signal: this.#ended.signal });
    document.addEventListener('visibilitychange', () => document.hidden && this.#abort(), { signal: this.#ended.signal });
    if (outer.aborted) this.#abort();
    this.heard();
  }

  get signal() {
    return this.#controller.signal;
  }

  heard() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#abort, SILENCE_MS);
  }

  end() {
    clearTimeout(this.#timer);
    this.#ended.abort();
  }

  #abort = () => this.#controller.abort();
}

function untilVisible(signal) {
  return new Promise((resolve) => {
    if (!document.hidden) return resolve();
    const look = () => (signal.aborted || !document.hidden) && (done.abort(), resolve());
    const done = new AbortController();
    document.addEventListener('visibilitychange', look, { signal: done.signal });
    return signal.addEventListener('abort', look, { signal: done.signal });
  });
}

/** Parses the part of server-sent events that this server uses: `id`, `data` and comments. */
async function* messages(body, onHeard) {
  let rest = '';
  let message = {};
  for await (const text of parts(body)) {
    onHeard();
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*?)\r?$/s.exec(line);
      if (line.trim() === '') {
        yield message;
        message = {};
      } else if (field === 'id') message.id = value;
      else if (field === 'data') message.data = message.data === undefined ? value : `${message.data}\n${value}`;
    }
  }
}

async function* parts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

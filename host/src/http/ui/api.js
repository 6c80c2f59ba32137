// What the page says to its server, and how it hears what happens there. Shows nothing.

const TOKEN = 'orghost-token';
/** The server says something every 15 seconds: after so long a silence the connection is dead. */
const SILENCE_MS = 40_000;
const LONGEST_PAUSE_MS = 15_000;

/** Why the server did not do something (RFC 9457). `status` is 0 when it could not be asked. */
export class Problem extends Error {
  constructor(status, { detail, title, errors = [] } = {}) {
    super(detail || title || `the server answered ${status}`);
    this.status = status;
    this.errors = errors.length > 0 ? errors : [{ message: this.message }];
  }

  /** The server does not offer this. */
  get isNotOffered() {
    return this.status === 404 || this.status === 405;
  }
}

let askForToken = async () => null;
let asking = null;

/** `ask(isWrong)` gives a token, or `null` when nobody wants to give one. */
export function onTokenWanted(ask) {
  askForToken = ask;
}

export const token = () => sessionStorage.getItem(TOKEN);
export const forgetToken = () => sessionStorage.removeItem(TOKEN);

/** Sends a request. Asks for a token where one is wanted; whatever is not a success is a `Problem`. */
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

/** Sends JSON, or a form. */
export async function sendJson(method, path, value, headers = {}) {
  const isForm = value instanceof FormData;
  const body = value === undefined || isForm ? value : JSON.stringify(value);
  const type = body === undefined || isForm ? {} : { 'content-type': 'application/json' };
  const response = await request(method, path, { body, headers: { ...type, ...headers } });
  return response.json();
}

/** The path of something: each part is quoted. */
export function pathOf(...parts) {
  return `/v1/${parts.map(encodeURIComponent).join('/')}`;
}

/**
 * Follows events until `signal` ends it: each once and in order, over cut connections too. Without `after`, those that
 * come from now on. `onConnection` hears `live`, or `lost` with the milliseconds until the next try.
 *
 * A page that nobody sees holds no connection, and goes on where it was when it is seen again: a browser has six to a
 * server, for all tabs and for the pages that "back" leads to.
 */
export async function followEvents({ org, after, signal, onEvent, onConnection }) {
  let last = after;
  let tries = 0;
  while (!signal.aborted) {
    await untilSeen(signal);
    const line = new Line(signal);
    try {
      const response = await request('GET', eventsPath(org, last), { signal: line.signal, headers: lastSeen(last) });
      onConnection('live');
      for await (const message of messages(response.body, () => line.heard())) {
        tries = 0;
        // Without an id it tells of events that are kept no longer: the page reads again how things are anyway.
        if (message.id === undefined) continue;
        last = message.id;
        if (message.data) onEvent(JSON.parse(message.data));
      }
    } catch (error) {
      if (!(error instanceof Problem) && error.name !== 'AbortError') console.info(error);
    } finally {
      line.end();
    }
    if (signal.aborted) return;
    if (document.hidden) continue;
    const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** tries) * (0.75 + Math.random() / 2);
    tries += 1;
    onConnection('lost', pause);
    await sleep(pause, signal);
  }
}

/** Follows a text, part by part, until it or `signal` ends it. */
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

/** Asks once, however many requests want one. */
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

/** One connection: ends when nothing was heard for too long, when nobody sees the page, and when `outer` says so. */
class Line {
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

function untilSeen(signal) {
  return new Promise((resolve) => {
    if (!document.hidden) return resolve();
    const look = () => (signal.aborted || !document.hidden) && (done.abort(), resolve());
    const done = new AbortController();
    document.addEventListener('visibilitychange', look, { signal: done.signal });
    return signal.addEventListener('abort', look, { signal: done.signal });
  });
}

/** Parses server-sent events, as far as this server sends them: `id`, `data` and comments. */
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

// What things are called: states, events and operations as people read them. No elements, no requests.

/** The steps that bring a workspace up, in their order. */
export const STEPS = ['volumes', 'create', 'seed', 'verify', 'start', 'ready'];

const STEP_SENTENCES = {
  remove: 'is being cleared away',
  volumes: 'gets its volumes',
  create: 'is being created, not started',
  seed: 'gets its configuration',
  verify: 'has its configuration read back and compared',
  stop: 'is ready to take over: the one before is stopped',
  start: 'starts',
  ready: 'started; waiting until it answers',
  rollback: 'failed: the one before is started again',
};

/** What a workspace is at a step that is not one of the way up. */
const STEP_WORDS = { remove: 'clearing away', stop: 'replacing', rollback: 'taking back' };

const OPERATIONS = {
  up: ['Bring up', 'is being brought up', 'was brought up'],
  down: ['Take down', 'is being taken down', 'was taken down'],
  restart: ['Restart', 'is being restarted', 'was restarted'],
  stop: ['Stop', 'is being stopped', 'was stopped'],
  start: ['Start', 'is being started', 'was started'],
  remove: ['Remove', 'is being removed', 'was removed'],
};

const OPERATION_TONES = { queued: 'wait', running: 'busy', done: 'good', failed: 'bad', cancelled: 'wait', superseded: 'wait' };

/** What a workspace is just now: a word, a tone, and why. `step` is the one that it is at. */
export function stateOf(workspace, step) {
  const { outcome, state, reason } = workspace;
  if (step !== undefined) return { word: STEP_WORDS[step] ?? 'provisioning', tone: 'busy', step };
  if (workspace.external) return { word: 'external', tone: 'good' };
  if (outcome === 'provisioning') return { word: 'provisioning', tone: 'busy' };
  if (outcome === 'failed' || outcome === 'skipped') return { word: outcome, tone: outcome === 'failed' ? 'bad' : 'wait', detail: reason };
  if (outcome === 'planned' && state === 'absent') return { word: 'planned', tone: 'wait' };
  if (state === 'running') return { word: 'running', tone: 'good' };
  if (outcome === 'stopped' || workspace.wanted === 'stopped') return { word: 'stopped', tone: 'wait' };
  if (state === 'restarting') return { word: 'restarting', tone: 'warn', detail: exitOf(workspace) };
  if (state === 'exited') return { word: 'exited', tone: 'bad', detail: exitOf(workspace) };
  if (state === 'absent' && outcome === 'up') return { word: 'absent', tone: 'bad', detail: 'the engine does not have it any more' };
  return { word: state, tone: 'wait' };
}

/** Counts of states, the most worrying ones last: `3 running · 1 failed`. */
export function countsOf(states) {
  const counts = new Map();
  for (const { word } of states) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, count]) => `${count} ${word}`).join(' · ');
}

/** `{subject, text, tone}` of an event; `nameOf(org, key)` gives what people call a workspace, or the org. */
export function sentenceOf(event, nameOf) {
  return { subject: nameOf(event.org, event.workspace), ...(SENTENCES[event.event]?.(event) ?? { text: event.event }) };
}

const SENTENCES = {
  began: (e) => ({ text: `${during(e.operation)}: ${many(e.workspaces, 'workspace')} on ${e.engine}`, tone: 'busy' }),
  resumed: (e) => ({ text: `goes on after it was cut off${e.cut_off.length > 0 ? ` (${e.cut_off.join(', ')})` : ''}`, tone: 'warn' }),
  step: (e) => ({ text: STEP_SENTENCES[e.step] ?? e.step, isStep: true }),
  unchanged: () => ({ text: 'is there already, and equal', tone: 'good' }),
  external: () => ({ text: 'runs elsewhere', tone: 'good' }),
  up: (e) => ({ text: e.ready ? 'is up and answers' : 'is up', tone: 'good' }),
  failed: (e) => ({ text: `failed at ${e.step}: ${e.reason}`, help: e.help, tone: 'bad' }),
  skipped: (e) => ({ text: `was skipped: ${e.reason}`, tone: 'wait' }),
  stopped: () => ({ text: 'was stopped', tone: 'wait' }),
  removed: () => ({ text: 'was removed', tone: 'wait' }),
  broke: (e) => ({ text: `broke off: ${e.reason}`, tone: 'bad' }),
  ended: (e) => (e.failed > 0
    ? { text: `ended; ${many(e.failed, 'workspace')} failed`, tone: 'bad' }
    : { text: 'ended well', tone: 'good' }),
};

/** The events that matter to somebody who does not watch each step. */
export const isWorthSaying = (event) => event.event !== 'step' && event.event !== 'unchanged';

export const titleOf = (operation) => OPERATIONS[operation]?.[0] ?? operation;
export const toneOfOperation = (state) => OPERATION_TONES[state] ?? 'wait';
export const isUnderWay = (operation) => operation.state === 'queued' || operation.state === 'running';

export function many(count, word) {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

/** The names of a requirement: a template writes a name, or `{any_of: […]}`. */
export function namesOf(requirement) {
  return typeof requirement === 'string' ? [requirement] : requirement.any_of;
}

/** Where a diagnostic points: file, line, column, field, workspace. */
export function placeOf({ file, line, column, field, workspace }) {
  const at = [file, line, column].filter((part) => part !== undefined && part !== null).join(':');
  return [at, field, workspace && `workspace ${workspace}`].filter(Boolean).join(' · ');
}

/** The time of day; with the date when it is not today's. */
export function timeOf(ms) {
  const then = new Date(ms);
  const isToday = then.toDateString() === new Date().toDateString();
  return isToday ? then.toLocaleTimeString() : then.toLocaleString();
}

/** How long something took. */
export function durationOf(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 60 ? `${minutes} min ${Math.round((ms % 60_000) / 1000)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const during = (operation) => OPERATIONS[operation]?.[1] ?? operation;
const exitOf = ({ exit_code: code }) => (code === undefined ? undefined : `exit code ${code}`);

// The texts for states, events and operations. Pure functions: no elements and no requests.

/** The steps that bring a workspace up, in order. */
export const STEPS = ['volumes', 'create', 'seed', 'verify', 'start', 'ready'];

const STEP_SENTENCES = {
  remove: 'is being removed',
  volumes: 'gets its volumes',
  create: 'is being created',
  seed: 'is being seeded',
  verify: 'has its seed read back and compared',
  stop: 'is seeded; the previous generation is being stopped',
  start: 'is starting',
  ready: 'started; waiting until it is ready',
  rollback: 'failed; the previous generation is being started again',
};

/** The state of a workspace during a step that is not in `STEPS`. */
const STEP_WORDS = { remove: 'removing', stop: 'replacing', rollback: 'rolling back' };

const OPERATIONS = {
  up: ['Bring up', 'is being brought up', 'was brought up'],
  down: ['Take down', 'is being taken down', 'was taken down'],
  restart: ['Restart', 'is being restarted', 'was restarted'],
  stop: ['Stop', 'is being stopped', 'was stopped'],
  start: ['Start', 'is being started', 'was started'],
  remove: ['Remove', 'is being removed', 'was removed'],
};

const OPERATION_TONES = { queued: 'wait', running: 'busy', done: 'good', failed: 'bad', cancelled: 'wait', superseded: 'wait' };

/** The current state of a workspace: a word, a tone for its colour, and a reason. `step` is its step, when it has one. */
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
  if (state === 'absent' && outcome === 'up') return { word: 'absent', tone: 'bad', detail: 'it is no longer on the engine' };
  return { word: state, tone: 'wait' };
}

/** The number of workspaces in each state: `3 running · 1 failed`. */
export function countsOf(states) {
  const counts = new Map();
  for (const { word } of states) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, count]) => `${count} ${word}`).join(' · ');
}

/** `{subject, text, tone}` of an event. `nameOf(org, key)` returns the name of a workspace, or of the org without `key`. */
export function sentenceOf(event, nameOf) {
  return { subject: nameOf(event.org, event.workspace), ...(SENTENCES[event.event]?.(event) ?? { text: event.event }) };
}

const SENTENCES = {
  began: (e) => ({ text: `${during(e.operation)}: ${many(e.workspaces, 'workspace')} on ${e.engine}`, tone: 'busy' }),
  resumed: (e) => ({ text: `resumes after an interruption${e.cut_off.length > 0 ? ` (${e.cut_off.join(', ')})` : ''}`, tone: 'warn' }),
  step: (e) => ({ text: STEP_SENTENCES[e.step] ?? e.step, isStep: true }),
  unchanged: () => ({ text: 'is unchanged', tone: 'good' }),
  external: () => ({ text: 'is external', tone: 'good' }),
  up: (e) => ({ text: e.ready ? 'is up and ready' : 'is up', tone: 'good' }),
  failed: (e) => ({ text: `failed at ${e.step}: ${e.reason}`, help: e.help, tone: 'bad' }),
  skipped: (e) => ({ text: `was skipped: ${e.reason}`, tone: 'wait' }),
  stopped: () => ({ text: 'was stopped', tone: 'wait' }),
  removed: () => ({ text: 'was removed', tone: 'wait' }),
  broke: (e) => ({ text: `ended early: ${e.reason}`, tone: 'bad' }),
  ended: (e) => (e.failed > 0
    ? { text: `ended; ${many(e.failed, 'workspace')} failed`, tone: 'bad' }
    : { text: 'ended well', tone: 'good' }),
};

/** Whether an event is worth announcing: all but single steps and unchanged workspaces. */
export const isWorthSaying = (event) => event.event !== 'step' && event.event !== 'unchanged';

export const titleOf = (operation) => OPERATIONS[operation]?.[0] ?? operation;
export const toneOfOperation = (state) => OPERATION_TONES[state] ?? 'wait';
export const isUnderWay = (operation) => operation.state === 'queued' || operation.state === 'running';

export function many(count, word) {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

/** The names that satisfy a requirement, which is a name or `{any_of: […]}`. */
export function namesOf(requirement) {
  return typeof requirement === 'string' ? [requirement] : requirement.any_of;
}

/** The place of a diagnostic: file, line, column, field, workspace. */
export function placeOf({ file, line, column, field, workspace }) {
  const at = [file, line, column].filter((part) => part !== undefined && part !== null).join(':');
  return [at, field, workspace && `workspace ${workspace}`].filter(Boolean).join(' · ');
}

/** The time of day, with the date unless it is today. */
export function timeOf(ms) {
  const then = new Date(ms);
  const isToday = then.toDateString() === new Date().toDateString();
  return isToday ? then.toLocaleTimeString() : then.toLocaleString();
}

/** A duration as people read it, such as `2 min 5 s`. */
export function durationOf(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 60 ? `${minutes} min ${Math.round((ms % 60_000) / 1000)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const during = (operation) => OPERATIONS[operation]?.[1] ?? operation;
const exitOf = ({ exit_code: code }) => (code === undefined ? undefined : `exit code ${code}`);

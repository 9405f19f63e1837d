// @ts-check
import { counted, holdTarget } from './words.js';
/** @import { ActReply } from './types.js' */

/** @typedef {'pause' | 'cancel-only' | 'resume' | 'drop' | 'startup-close' | 'startup-open' | 'nonce-jump' | 'reload' | 'doctor' | 'stop'} ActName */
/** @typedef {'target' | 'client' | 'account' | 'distance'} FieldName */
/** @typedef {Record<string, string>} Body */

/**
 * @typedef {object} Act
 * @property {ActName} name
 * @property {string} label on its button
 * @property {string} title
 * @property {string} path
 * @property {string} meaning what it does, before it is done
 * @property {string} submit
 * @property {FieldName[]} [fields]
 * @property {string} [confirm] a word that has to be typed
 * @property {(body: Body, reply: ActReply) => string} done what was done, for the log of this page
 */

/** All acts, as they stand on the page. @type {readonly { title: string, acts: Act[] }[]} */
export const GROUPS = [
  {
    title: 'Trading',
    acts: [
      {
        name: 'pause',
        label: 'Pause…',
        title: 'Pause',
        path: '/v1/pause',
        meaning:
          'Nothing of clients goes to Kraken. Calls wait in the lane up to their limit, then get EService:Busy. It lasts until somebody resumes, also over a restart.',
        submit: 'Pause',
        fields: ['target'],
        done: (body) => `Paused ${targetOf(body)}.`,
      },
      {
        name: 'cancel-only',
        label: 'Cancel only…',
        title: 'Cancel only',
        path: '/v1/cancel-only',
        meaning:
          'Only cancels and reads go. Every other call is refused at once with EGeneral:Permission denied. It lasts until somebody resumes, also over a restart.',
        submit: 'Set to cancel only',
        fields: ['target'],
        done: (body) => `Cancel only: ${targetOf(body)}.`,
      },
      {
        name: 'resume',
        label: 'Resume…',
        title: 'Resume',
        path: '/v1/resume',
        meaning:
          'Lifts a pause, cancel-only mode or the twin alarm’s freeze. What waits goes on at once, in its order.',
        submit: 'Resume',
        fields: ['target'],
        done: (body, { holds = [] }) => {
          const left = holds.length === 0 ? '' : ` Still held: ${holds.map(holdTarget).join(', ')}.`;
          return `Resumed ${targetOf(body)}.${left}`;
        },
      },
      {
        name: 'drop',
        label: 'Drop waiting calls…',
        title: 'Drop a client’s waiting calls',
        path: '/v1/drop',
        meaning:
          'What waits in the lane is answered EService:Busy and never sent. A call that is on its way to Kraken is not touched.',
        submit: 'Drop',
        fields: ['client', 'account'],
        done: (body, { dropped = 0 }) => `Dropped ${counted(dropped, 'waiting call')} of ${body.client}.`,
      },
    ],
  },
  {
    title: 'After a start',
    acts: [
      {
        name: 'startup-close',
        label: 'Close startup window…',
        title: 'Close the startup window',
        path: '/v1/startup-window/close',
        meaning: 'Calls go at full speed from now on.',
        submit: 'Close the window',
        done: () => 'Closed the startup window.',
      },
      {
        name: 'startup-open',
        label: 'Reopen startup window…',
        title: 'Reopen the startup window',
        path: '/v1/startup-window/open',
        meaning:
          'Calls are slowed down for a while as after a start, cancels excepted. Use it when all bots come back at once.',
        submit: 'Open the window',
        done: (_body, { open }) =>
          open === false
            ? 'The startup window is turned off in the configuration.'
            : 'Reopened the startup window.',
      },
    ],
  },
  {
    title: 'Keys and configuration',
    acts: [
      {
        name: 'doctor',
        label: 'Examine keys now…',
        title: 'Examine all keys now',
        path: '/v1/doctor',
        meaning:
          'Asks Kraken about each key (one GetApiKeyInfo a key, one nonce each). What it finds shows under Findings.',
        submit: 'Examine',
        done: (_body, { findings = [] }) => doctorWords(findings),
      },
      {
        name: 'reload',
        label: 'Reload configuration…',
        title: 'Reload the configuration',
        path: '/v1/reload',
        meaning:
          'Reads the file again. Clients, policies, limits, log level, secrets and certificates change without dropping a call. An invalid file changes nothing.',
        submit: 'Reload',
        done: (_body, reply) => reloadWords(reply),
      },
      {
        name: 'nonce-jump',
        label: 'Nonce jump…',
        title: 'Nonce jump',
        path: '/v1/nonce-jump/plan',
        meaning:
          'Lifts the nonce floor, for a key that another program has used with higher nonces. It cannot be taken back. First you see what it would do.',
        submit: 'Show the plan',
        fields: ['account', 'distance'],
        done: (_body, { floor = '' }) => `Nonce jump done: the floor is ${floor}.`,
      },
    ],
  },
  {
    title: 'Process',
    acts: [
      {
        name: 'stop',
        label: 'Stop the proxy…',
        title: 'Drain and stop the proxy',
        path: '/v1/stop',
        meaning:
          'No new calls are taken, what waits gets EService:Busy, the call in flight ends. Then the process ends; this page cannot start it again.',
        submit: 'Stop the proxy',
        confirm: 'stop',
        done: () => 'The proxy is stopping.',
      },
    ],
  },
];
/** Those that cannot be taken back. @type {ReadonlySet<ActName>} */
export const GRAVE = new Set(['nonce-jump', 'stop']);
/** @param {Body} body */
function targetOf({ account, client }) {
  if (account !== undefined) return `account ${account}`;
  return client === undefined ? 'everything' : `client ${client}`;
}

/** @param {NonNullable<ActReply['findings']>} findings */
function doctorWords(findings) {
  if (findings.length === 0) return 'All keys examined: nothing found.';
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  return `All keys examined: ${counted(findings.length, 'finding')}, ${counted(errors, 'error')}.`;
}

/** @param {ActReply} reply */
function reloadWords({ changed = [], needsRestart = [] }) {
  const did = changed.length === 0 ? 'Reloaded: nothing changed.' : `Reloaded: ${changed.join(', ')}.`;
  return needsRestart.length === 0 ? did : `${did} Needs a restart: ${needsRestart.join(', ')}.`;
}

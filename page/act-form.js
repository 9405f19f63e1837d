// @ts-check
import { GRAVE } from './act-list.js';
import { ApiError } from './api.js';
import { element, setAttribute, setText, show } from './dom.js';
import { HOLD_WORDS, moment, span } from './words.js';
/** @import { Target } from './accounts.js' */
/** @import { Act, Body, FieldName } from './act-list.js' */
/** @import { Api } from './api.js' */
/** @import { Hold, Plan, Status } from './types.js' */

const WHO = 'kraken-signing-proxy.who';
const JUMP_WORD = 'jump';
/** Without one the proxy goes by what Kraken says of the key. @type {readonly [value: string, text: string][]} */
const DISTANCES = [
  ['', 'Just above what Kraken has seen of the key'],
  ['1m', '1 minute'],
  ['10m', '10 minutes'],
  ['1h', '1 hour'],
  ['6h', '6 hours'],
  ['1d', '1 day'],
  ['7d', '7 days'],
];

/**
 * @typedef {object} FormParts
 * @property {Act} act
 * @property {Status} status
 * @property {Target} target
 * @property {Api} api
 * @property {() => void} close
 * @property {(text: string) => void} done
 * @property {() => void} onUnauthorized
 */

/** One act's form, from its fields over its plan, where it has one, to its end. */
export class ActForm {
  #parts;
  #fields = element('fieldset', { class: 'fields' });
  #plan = element('div', { class: 'plan', hidden: true, tabindex: '-1' });
  #error = element('p', { class: 'error', role: 'alert' });
  #submit;
  #back = element('button', { type: 'button', hidden: true }, 'Back');
  /** @type {HTMLInputElement | undefined} */
  #confirm;
  /** @type {Plan | undefined} */
  #planned;
  #isBusy = false;

  /** @param {FormParts} parts */
  constructor(parts) {
    this.#parts = parts;
    const { act, close } = parts;
    for (const name of act.fields ?? []) this.#fields.append(fieldOf(name, parts));
    this.#fields.append(...whoAndWhy());
    if (act.confirm !== undefined) this.#fields.append(this.#confirmation(act.confirm));
    this.#submit = element(
      'button',
      { type: 'submit', class: GRAVE.has(act.name) ? 'primary grave' : 'primary' },
      act.submit,
    );
    const cancel = element('button', { type: 'button' }, 'Cancel');
    cancel.addEventListener('click', close);
    this.#back.addEventListener('click', () => this.#unplan());
    this.root = element(
      'form',
      { autocomplete: 'off' },
      element('h2', { id: 'act-title' }, act.title),
      element('p', { class: 'muted' }, act.meaning),
      this.#fields,
      this.#plan,
      this.#error,
      element('div', { class: 'dialog-acts' }, cancel, this.#back, this.#submit),
    );
    this.root.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#send();
    });
  }

  /** To the first thing that has to be filled in. */
  focus() {
    const inputs = [...this.root.querySelectorAll('select, input')];
    const first = inputs.find((input) => /** @type {HTMLInputElement} */ (input).value === '') ?? inputs[0];
    /** @type {HTMLElement | undefined} */ (first)?.focus();
  }

  async #send() {
    if (this.#isBusy) return;
    const { act, api, done, onUnauthorized } = this.#parts;
    const body = this.#body();
    localStorage.setItem(WHO, body.who ?? '');
    this.#busy(true);
    setText(this.#error, '');
    try {
      if (act.name !== 'nonce-jump') done(act.done(body, await api.act(act.path, body)));
      else if (this.#planned === undefined) this.#show(/** @type {Plan} */ (await api.act(act.path, body)));
      else {
        const { who = '', why = '' } = body;
        const reply = await api.act('/v1/nonce-jump/apply', { plan: this.#planned.plan, who, why });
        done(act.done(body, reply));
      }
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) onUnauthorized();
      else setText(this.#error, error instanceof Error ? error.message : String(error));
    } finally {
      this.#busy(false);
    }
  }

  /** @returns {Body} what the form says, without what it leaves open */
  #body() {
    /** @type {Body} */
    const body = {};
    for (const field of this.root.querySelectorAll('select, input')) {
      const { name, value } = /** @type {HTMLInputElement} */ (field);
      const text = value.trim();
      if (text === '' || name === 'confirm') continue;
      if (name !== 'target') body[name] = text;
      else {
        const [kind = '', ...rest] = text.split(':');
        if (rest.length > 0) body[kind] = rest.join(':');
      }
    }
    return body;
  }

  /** @param {Plan} plan */
  #show(plan) {
    this.#planned = plan;
    /** @type {[string, string][]} */
    const rows = [
      ['For', plan.account === null ? 'the shared floor of all accounts' : `account ${plan.account}`],
      ['Cause', plan.cause],
      ['From', plan.from],
      ['To', plan.to],
      ['Distance', span(plan.distanceSeconds)],
      ['Then ahead of the clock', span(plan.leadSeconds)],
      ['What it means', plan.meaning],
      ['Apply before', moment(plan.expiresAt)],
    ];
    const list = element('dl', {});
    for (const [name, value] of rows) list.append(element('dt', {}, name), element('dd', {}, value));
    this.#plan.replaceChildren(element('h3', {}, 'The plan'), list, this.#confirmation(JUMP_WORD));
    show(this.#fields, false);
    show(this.#plan, true);
    show(this.#back, true);
    setText(this.#submit, 'Apply the jump');
    this.#plan.focus();
  }

  #unplan() {
    this.#planned = undefined;
    this.#plan.replaceChildren();
    show(this.#fields, true);
    show(this.#plan, false);
    show(this.#back, false);
    setText(this.#error, '');
    setText(this.#submit, this.#parts.act.submit);
    this.focus();
  }

  /** @param {string} word */
  #confirmation(word) {
    const input = element('input', {
      name: 'confirm',
      required: true,
      autocomplete: 'off',
      spellcheck: 'false',
      autocapitalize: 'none',
    });
    const check = () => input.setCustomValidity(input.value.trim() === word ? '' : `Type ${word} to go on.`);
    input.addEventListener('input', check);
    check();
    this.#confirm = input;
    return element('label', {}, element('span', {}, 'Type ', element('b', {}, word), ' to go on'), input);
  }

  /** @param {boolean} isBusy */
  #busy(isBusy) {
    this.#isBusy = isBusy;
    setAttribute(this.#submit, 'aria-busy', isBusy ? 'true' : undefined);
    if (!isBusy && this.#confirm !== undefined && this.#error.textContent !== '') this.#confirm.focus();
  }
}

/**
 * @param {FieldName} name
 * @param {FormParts} parts
 */
function fieldOf(name, { act, status, target }) {
  if (name === 'target') return labeled('What', targetSelect(act, status, target));
  if (name === 'distance') {
    const distances = DISTANCES.map(([value, text]) => element('option', { value }, text));
    return labeled('How far', element('select', { name }, ...distances));
  }
  const names = (name === 'client' ? status.clients : status.accounts).map((each) => each.name);
  const every = act.name === 'nonce-jump' ? 'All accounts (the shared floor)' : 'Every account';
  const select = element('select', { name, required: name === 'client' });
  if (name === 'account') select.append(element('option', { value: '' }, every));
  for (const each of names)
    select.append(element('option', { value: each }, waitingLabel(name, each, status)));
  const chosen = target[name];
  if (chosen !== undefined) select.value = chosen;
  return labeled(name === 'client' ? 'Client' : 'Account', select);
}

/**
 * @param {FieldName} kind
 * @param {string} name
 * @param {Status} status
 */
function waitingLabel(kind, name, status) {
  const waiting =
    kind === 'client' ? status.clients.find((client) => client.name === name)?.waiting : undefined;
  return waiting === undefined ? name : `${name} (${waiting} waiting)`;
}

/**
 * @param {Act} act
 * @param {Status} status
 * @param {Target} target
 */
function targetSelect(act, status, target) {
  /** @type {(name: string, hold: Hold | null) => string} */
  const label = (name, hold) => (hold === null ? name : `${name} – ${HOLD_WORDS[hold.mode].toLowerCase()}`);
  const select = element('select', { name: 'target' });
  select.append(element('option', { value: 'all' }, label('Everything', status.hold)));
  /** @type {string | undefined} */
  let held = status.hold === null ? undefined : 'all';
  for (const [kind, noun, all] of /** @type {const} */ ([
    ['account', 'Account', status.accounts],
    ['client', 'Client', status.clients],
  ])) {
    const group = element('optgroup', { label: `${noun}s` });
    for (const { name, hold } of all) {
      group.append(element('option', { value: `${kind}:${name}` }, label(`${noun} ${name}`, hold)));
      if (hold !== null) held ??= `${kind}:${name}`;
    }
    if (all.length > 0) select.append(group);
  }
  if (target.account !== undefined) select.value = `account:${target.account}`;
  else if (target.client !== undefined) select.value = `client:${target.client}`;
  else if (act.name === 'resume' && held !== undefined) select.value = held;
  return select;
}

function whoAndWhy() {
  const who = element('input', {
    name: 'who',
    required: true,
    maxlength: '200',
    autocomplete: 'off',
    spellcheck: 'false',
  });
  who.value = localStorage.getItem(WHO) ?? '';
  const why = element('input', { name: 'why', required: true, maxlength: '200', autocomplete: 'off' });
  for (const input of [who, why]) {
    const check = () =>
      input.setCustomValidity(input.value !== '' && input.value.trim() === '' ? 'Say it in words.' : '');
    input.addEventListener('input', check);
  }
  return [labeled('Who you are', who), labeled('Why', why, 'Both go into the journal.')];
}

/**
 * @param {string} text
 * @param {HTMLElement} input
 * @param {string} [hint]
 */
function labeled(text, input, hint) {
  const label = element('label', {}, element('span', {}, text), input);
  if (hint !== undefined) label.append(element('small', { class: 'muted' }, hint));
  return label;
}

// @ts-check
import { ActForm } from './act-form.js';
import { GRAVE, GROUPS } from './act-list.js';
import { byId, element, Rows, setText, show } from './dom.js';
import { moment } from './words.js';
/** @import { Target } from './accounts.js' */
/** @import { ActName } from './act-list.js' */
/** @import { Api } from './api.js' */
/** @import { Status } from './types.js' */

const MOST_LOGGED = 8;
const TOAST_MS = 12_000;

/**
 * @typedef {object} ActsParts
 * @property {Api} api
 * @property {() => Status | undefined} status
 * @property {() => void} onUnauthorized
 */

/** The buttons, the dialog in which an act is given its who and why, and what became of it. */
export class ActsView {
  #parts;
  #dialog = /** @type {HTMLDialogElement} */ (byId('act'));
  #toast = byId('toast');
  #log = new Rows(byId('act-log'), createLogLine);
  /** @type {{ at: number, text: string }[]} */
  #done = [];
  #toastTimer = 0;
  /** @type {Map<ActName, HTMLButtonElement>} */
  #buttons = new Map();

  /** @param {ActsParts} parts */
  constructor(parts) {
    this.#parts = parts;
    for (const { title, acts } of GROUPS) {
      const group = element('div', { class: 'act-group' }, element('h3', {}, title));
      for (const act of acts) {
        const button = element(
          'button',
          { type: 'button', class: GRAVE.has(act.name) ? 'grave' : undefined },
          act.label,
        );
        button.addEventListener('click', () => this.open(act.name, {}));
        this.#buttons.set(act.name, button);
        group.append(button);
      }
      byId('act-groups').append(group);
    }
  }

  /** @param {Status} status */
  render(status) {
    this.#showButton('startup-close', status.startupWindow.open);
    this.#showButton('startup-open', !status.startupWindow.open);
  }

  /**
   * Opens an act's dialog.
   * @param {ActName} name
   * @param {Target} target chosen beforehand
   */
  open(name, target) {
    const act = GROUPS.flatMap(({ acts }) => acts).find((each) => each.name === name);
    const status = this.#parts.status();
    if (act === undefined || status === undefined || this.#dialog.open) return;
    const form = new ActForm({
      act,
      status,
      target,
      api: this.#parts.api,
      close: () => this.#dialog.close(),
      done: (text) => {
        this.#dialog.close();
        this.#tell(text);
      },
      onUnauthorized: () => {
        this.#dialog.close();
        this.#parts.onUnauthorized();
      },
    });
    setText(this.#toast, ''); // what was done before is no word on this
    this.#dialog.replaceChildren(form.root);
    this.#dialog.showModal();
    form.focus();
  }

  /**
   * Both of a pair are one button to the eye; the one with the focus must not vanish without a word.
   * @param {ActName} name
   * @param {boolean} isShown
   */
  #showButton(name, isShown) {
    const button = this.#buttons.get(name);
    if (button === undefined || button.hidden === !isShown) return;
    const hadFocus = button === document.activeElement;
    show(button, isShown);
    if (hadFocus) this.#buttons.get(name === 'startup-open' ? 'startup-close' : 'startup-open')?.focus();
  }

  /** @param {string} text */
  #tell(text) {
    this.#done = [{ at: Date.now(), text }, ...this.#done].slice(0, MOST_LOGGED);
    show(byId('act-log-box'), true);
    this.#log.render(this.#done, ({ at }) => String(at), updateLogLine);
    setText(this.#toast, text);
    clearTimeout(this.#toastTimer);
    this.#toastTimer = setTimeout(() => setText(this.#toast, ''), TOAST_MS);
  }
}

function createLogLine() {
  const at = element('span', { class: 'muted' });
  const text = element('span');
  return { root: element('li', {}, at, ' ', text), at, text };
}

/**
 * @param {ReturnType<typeof createLogLine>} row
 * @param {{ at: number, text: string }} line
 */
function updateLogLine({ at, text }, line) {
  setText(at, moment(line.at));
  setText(text, line.text);
}

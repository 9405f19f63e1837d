// @ts-check

/** @typedef {Node | string | null | undefined} Child */

/**
 * A new element. Texts become text nodes: nothing that comes from outside is ever read as HTML.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | boolean | undefined>} [attributes] `true` sets an attribute without a value
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(made, name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/**
 * The element of the page's own HTML with this id.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * Writes only what differs: a write of the same text makes the browser lay out again.
 * @param {Element} target
 * @param {string} text
 */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * @param {Element} target
 * @param {string} name
 * @param {string | boolean | undefined} value undefined and false remove it
 */
export function setAttribute(target, name, value) {
  if (value === undefined || value === false) {
    if (target.hasAttribute(name)) target.removeAttribute(name);
    return;
  }
  const text = value === true ? '' : value;
  if (target.getAttribute(name) !== text) target.setAttribute(name, text);
}

/**
 * @param {HTMLElement} target
 * @param {boolean} isShown
 */
export function show(target, isShown) {
  if (target.hidden === isShown) target.hidden = !isShown;
}

/**
 * Children of one parent, one for each item, kept by key: an item that stays keeps its nodes, and with them focus
 * and selection.
 * @template Item
 * @template {{ root: HTMLElement }} Row
 */
export class Rows {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #parent;
  #create;
  #reuses;

  /**
   * @param {HTMLElement} parent
   * @param {(item: Item) => Row} create
   * @param {boolean} [reuses] the row of an item that is gone may become another's
   */
  constructor(parent, create, reuses = false) {
    this.#parent = parent;
    this.#create = create;
    this.#reuses = reuses;
  }

  /**
   * @param {readonly Item[]} items
   * @param {(item: Item) => string} keyOf
   * @param {(row: Row, item: Item) => void} update
   */
  render(items, keyOf, update) {
    const spare = this.#without(new Set(items.map(keyOf)));
    // Rows to be used again stay where they are: where every item is another, not one of them has to move.
    if (!this.#reuses) for (const row of spare.splice(0)) row.root.remove();
    let used = 0;
    /** @type {Map<string, Row>} */
    const kept = new Map();
    let place = this.#parent.firstElementChild;
    for (const item of items) {
      const key = keyOf(item);
      if (kept.has(key)) continue;
      const row = this.#rows.get(key) ?? spare[used++] ?? this.#create(item);
      kept.set(key, row);
      update(row, item);
      if (row.root === place) place = place.nextElementSibling;
      else this.#parent.insertBefore(row.root, place);
    }
    for (const row of spare.slice(used)) row.root.remove();
    this.#rows = kept;
  }

  /**
   * @param {ReadonlySet<string>} keys those that stay
   * @returns {Row[]} rows of no item any more, in their order
   */
  #without(keys) {
    return [...this.#rows].filter(([key]) => !keys.has(key)).map(([, row]) => row);
  }
}

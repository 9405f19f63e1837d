// @ts-check

/**
 * Takes server-sent events apart (WHATWG HTML, 9.2.6), whatever the borders of the chunks they come in. EventSource
 * would do the same, but cannot send an Authorization header.
 */
export class EventParser {
  #line = '';
  #data = /** @type {string[]} */ ([]);
  #event = '';
  /** A chunk may end between CR and LF. */
  #endedWithCr = false;
  #isFirst = true;

  /**
   * @param {string} chunk
   * @returns {{ event: string, data: string }[]} the events that are complete with it
   */
  push(chunk) {
    let text = chunk;
    if (text === '') return [];
    if (this.#isFirst && text.startsWith('\uFEFF')) text = text.slice(1);
    this.#isFirst = false;
    if (this.#endedWithCr && text.startsWith('\n')) text = text.slice(1);
    this.#endedWithCr = chunk.endsWith('\r');
    const lines = text.split(/\r\n|\n|\r/);
    const rest = lines.pop() ?? '';
    /** @type {{ event: string, data: string }[]} */
    const events = [];
    for (const line of lines) {
      this.#take(this.#line + line, events);
      this.#line = '';
    }
    this.#line += rest;
    return events;
  }

  /**
   * @param {string} line
   * @param {{ event: string, data: string }[]} events
   */
  #take(line, events) {
    if (line === '') {
      if (this.#data.length > 0)
        events.push({ event: this.#event || 'message', data: this.#data.join('\n') });
      this.#data = [];
      this.#event = '';
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#event = value;
  }
}

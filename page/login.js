// @ts-check
import { ApiError } from './api.js';
import { byId, setText, show } from './dom.js';
/** @import { Api } from './api.js' */

/** The form for the token, where the proxy asks for one. */
export class LoginView {
  #api;
  #onToken;
  #root = byId('login');
  #input = /** @type {HTMLInputElement} */ (byId('token'));
  #error = byId('token-error');

  /**
   * @param {Api} api
   * @param {() => void} onToken the API has a token that the proxy takes
   */
  constructor(api, onToken) {
    this.#api = api;
    this.#onToken = onToken;
    byId('token-form').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#try();
    });
  }

  show() {
    setText(this.#error, this.#api.hasToken ? 'The proxy does not take the token it took before.' : '');
    this.#api.setToken(null);
    show(this.#root, true);
    this.#input.focus();
  }

  hide() {
    show(this.#root, false);
  }

  async #try() {
    setText(this.#error, '');
    const token = this.#input.value.trim();
    try {
      // A header takes no other characters.
      if (!/^[!-~]+$/.test(token)) throw new ApiError(401, 'not a token');
      this.#api.setToken(token);
      await this.#api.status();
    } catch (error) {
      this.#api.setToken(null);
      const isWrong = error instanceof ApiError && error.status === 401;
      const words = error instanceof Error ? error.message : String(error);
      setText(this.#error, isWrong ? 'That is not the token of this proxy.' : words);
      this.#input.select();
      return;
    }
    this.#input.value = '';
    this.#onToken();
  }
}

// @ts-check
import { byId, setAttribute, setText } from './dom.js';

const KEY = 'kraken-signing-proxy.theme';
/** @typedef {'auto' | 'light' | 'dark'} Theme */
/** @type {Readonly<Record<Theme, { next: Theme, label: string }>>} */
const THEMES = {
  auto: { next: 'light', label: 'Auto' },
  light: { next: 'dark', label: 'Light' },
  dark: { next: 'auto', label: 'Dark' },
};

/** As the system has it, or as the operator chose on this machine. */
export class ThemeSwitch {
  #button = byId('theme');
  #onChange;

  /** @param {() => void} onChange colors are others now */
  constructor(onChange) {
    this.#onChange = onChange;
    this.#button.addEventListener('click', () => {
      localStorage.setItem(KEY, THEMES[chosen()].next);
      this.#apply();
    });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', onChange);
    this.#apply();
  }

  #apply() {
    const theme = chosen();
    setAttribute(document.documentElement, 'data-theme', theme === 'auto' ? undefined : theme);
    setText(this.#button, `Theme: ${THEMES[theme].label}`);
    this.#onChange();
  }
}

/** @returns {Theme} */
function chosen() {
  const kept = localStorage.getItem(KEY);
  return kept === 'light' || kept === 'dark' ? kept : 'auto';
}

// @ts-check
import { AccountsView } from './accounts.js';
import { ActsView } from './acts.js';
import { Api } from './api.js';
import { CallsView } from './calls.js';
import { ChartsView } from './charts.js';
import { byId, setAttribute, setText, show } from './dom.js';
import { healthAloud, HealthView, verdictOf } from './health.js';
import { Live } from './live.js';
import { LoginView } from './login.js';
import { Model } from './model.js';
import { ThemeSwitch } from './theme.js';
import { moment, span } from './words.js';
/** @import { Connection, Status } from './types.js' */

const TITLE = 'Kraken signing proxy';

/** The page's parts, put together. */
class Page {
  #api = new Api();
  #model = new Model();
  #health = new HealthView();
  #charts = new ChartsView();
  #calls = new CallsView();
  #acts;
  #accounts;
  #login;
  #live;
  /** @type {Connection} */
  #connection = { state: 'connecting', since: Date.now() };
  #isDrawing = false;
  /** The token is asked for: nothing of the proxy is shown. */
  #isLocked = false;
  #healthTold = '';

  constructor() {
    const onUnauthorized = () => this.#askForToken();
    this.#acts = new ActsView({ api: this.#api, status: () => this.#model.status, onUnauthorized });
    this.#accounts = new AccountsView((act, target) => this.#acts.open(act, target));
    this.#live = new Live({
      api: this.#api,
      onSnapshot: (snapshot) => {
        this.#model.load(snapshot);
        this.#draw();
      },
      onTick: (tick) => {
        this.#model.tick(tick);
        this.#draw();
      },
      onConnection: (connection) => this.#connect(connection),
      onUnauthorized,
    });
    this.#login = new LoginView(this.#api, () => {
      this.#isLocked = false;
      this.#live.start();
    });
    new ThemeSwitch(() => this.#charts.recolor());
    byId('forget').addEventListener('click', () => {
      this.#api.setToken(null);
      location.reload();
    });
    document.addEventListener('visibilitychange', () => this.#draw());
    setInterval(() => this.#age(), 1_000);
    this.#live.start();
  }

  /** At most once a frame, and not at all while nobody can see it. */
  #draw() {
    if (this.#isDrawing || this.#isLocked || document.hidden) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      const { status } = this.#model;
      if (status !== undefined && !this.#isLocked) this.#render(status);
    });
  }

  /** @param {Status} status */
  #render(status) {
    this.#login.hide();
    show(byId('board'), true);
    show(byId('foot'), true);
    show(byId('forget'), this.#api.hasToken);
    this.#renderHead(status);
    this.#health.render(status, this.#connection.state === 'lost');
    this.#accounts.render(status);
    this.#charts.render(this.#model.history, Math.floor(Date.parse(status.startedAt) / 1_000));
    this.#calls.render(this.#model);
    this.#acts.render(status);
    if (this.#connection.state !== 'lost') this.#tellHealth(status);
  }

  /** @param {Status} status */
  #renderHead(status) {
    const isSandbox = status.upstream === 'sandbox';
    setText(byId('version'), status.version);
    const upstream = byId('upstream');
    show(upstream, true);
    const host = status.upstream.replace(/^https?:\/\//, '');
    const isLive = /^([a-z-]+\.)*kraken\.com$/.test(host);
    setText(upstream, isSandbox ? 'Sandbox' : `${isLive ? 'Live' : 'Upstream'}: ${host}`);
    setAttribute(upstream, 'data-kind', isLive ? 'live' : undefined);
    show(byId('mode'), true);
    setText(byId('mode'), status.mode === 'global' ? 'One lane for all' : 'A lane for each key');
    const { file, loadedAt } = status.config;
    const journal = status.journal === null ? 'No journal.' : `Journal ${status.journal.file}.`;
    setText(
      byId('foot'),
      `Configuration ${file}, loaded ${moment(loadedAt)}. ${journal} Times are this machine's.`,
    );
    const words = { ok: '', warning: 'Trouble · ', info: '', error: 'Not ready · ' }[verdictOf(status)];
    const title = `${this.#connection.state === 'lost' ? 'No connection · ' : words}${TITLE}`;
    if (document.title !== title) document.title = title;
  }

  /** @param {Connection} connection */
  #connect(connection) {
    const was = this.#connection.state;
    this.#connection = connection;
    const isLost = connection.state === 'lost';
    setAttribute(byId('connection'), 'data-state', connection.state);
    setAttribute(document.body, 'data-stale', isLost);
    const since = moment(connection.since);
    setText(byId('connection-text'), isLost ? `Reconnecting since ${since}` : 'Live');
    show(byId('stale'), isLost);
    const why = connection.refusal ?? 'No connection to the proxy.';
    setText(
      byId('stale-text'),
      `${why} ${this.#model.status === undefined ? '' : `The figures are from ${since}.`}`,
    );
    this.#age();
    if (isLost) setText(byId('announce'), `Connection to the proxy lost. ${connection.refusal ?? ''}`);
    else if (was === 'lost') setText(byId('announce'), 'Connected to the proxy again.');
    this.#draw();
  }

  #age() {
    if (this.#connection.state !== 'lost') return;
    const seconds = (Date.now() - this.#connection.since) / 1_000;
    setText(byId('stale-age'), `Trying again by itself; ${span(seconds)} so far.`);
    if (!document.title.startsWith('No')) document.title = `No connection · ${TITLE}`;
  }

  #askForToken() {
    this.#isLocked = true;
    this.#connection = { state: 'connecting', since: Date.now() };
    this.#live.stop();
    show(byId('board'), false);
    show(byId('foot'), false);
    show(byId('stale'), false);
    setAttribute(document.body, 'data-stale', undefined);
    setAttribute(byId('connection'), 'data-state', 'connecting');
    setText(byId('connection-text'), 'Waiting for the token');
    this.#login.show();
  }

  /**
   * To a screen reader, once for each change.
   * @param {Status} status
   */
  #tellHealth(status) {
    const health = healthAloud(status);
    if (health === this.#healthTold) return;
    this.#healthTold = health;
    setText(byId('announce'), health);
  }
}

new Page();

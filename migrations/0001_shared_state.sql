-- What proxies on several machines share: everything that the files beside the nonce state hold on one machine.
-- Times are the database's own. Nothing in here is secret: no key, no secret, no body of a call but what Kraken
-- answered to orders and withdrawals, which is kept for a day.

CREATE SCHEMA kraken_proxy;

CREATE TABLE kraken_proxy.migration (
  version    integer     PRIMARY KEY,
  name       text        NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row for each lane: `global`, or the fingerprint of the key it is for.
CREATE TABLE kraken_proxy.lane (
  name     text        PRIMARY KEY,
  -- The highest nonce that may have been used, ns since 1970.
  floor    bigint      NOT NULL DEFAULT 0,
  -- Rises each time a node begins to send: a node whose number is an earlier one has lost the lane.
  tenure   bigint      NOT NULL DEFAULT 0,
  -- Who holds the lane, or held it last.
  node     text,
  -- The last nonce was handed out then.
  drawn_at timestamptz NOT NULL DEFAULT 'epoch',
  -- The holder has given it up in order: nothing of it is under way.
  is_free  boolean     NOT NULL DEFAULT true,
  -- What the nodes know of the lane's keys: call counters, breakers, startup window, dead man's switches.
  state    jsonb       NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- Keys that have seen higher nonces than their lane: each its own floor.
CREATE TABLE kraken_proxy.key_floor (
  fingerprint text   PRIMARY KEY,
  floor       bigint NOT NULL
);

-- Calls that must not be done twice, and their answers.
CREATE TABLE kraken_proxy.answer (
  key   text        PRIMARY KEY,
  -- What the first call under an Idempotency-Key asked for.
  asked text,
  state text        NOT NULL CHECK (state IN ('under-way', 'in-doubt', 'answered', 'done')),
  -- Its intent; once it is answered, the answer.
  json  text        NOT NULL,
  -- Whose it is while it is under way.
  node  text,
  at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- Names what was sent to Kraken under this key: another each time.
  call   text,
  -- Names who may end it, which is another each time that it is taken over: a write that comes late ends nothing else.
  record text,
  -- Once it is answered: the orders that the answer names, by Kraken's ids and the client's. Their cancel makes it untrue.
  account text,
  orders  text[]
);
CREATE INDEX answer_at ON kraken_proxy.answer (at);
CREATE INDEX answer_under_way ON kraken_proxy.answer (node) WHERE state = 'under-way';
CREATE INDEX answer_account ON kraken_proxy.answer (account) WHERE state = 'answered' AND account IS NOT NULL;
CREATE INDEX answer_orders ON kraken_proxy.answer USING gin (orders) WITH (fastupdate = off) WHERE state = 'answered';

-- Calls without an id whose replies were lost: what became of each is told to one equal call.
CREATE TABLE kraken_proxy.lost_reply (
  id    text        PRIMARY KEY,
  key   text        NOT NULL,
  state text        NOT NULL CHECK (state IN ('under-way', 'in-doubt', 'answered', 'done')),
  json  text        NOT NULL,
  node  text,
  at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- Only a call that arrived later can be its repeat.
  since timestamptz NOT NULL,
  -- As of `answer`.
  record  text,
  account text,
  orders  text[]
);
CREATE INDEX lost_reply_key ON kraken_proxy.lost_reply (key);

-- What clients' orders are worth, for limits by the day.
CREATE TABLE kraken_proxy.spending (
  id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  client text        NOT NULL,
  quote  text        NOT NULL,
  amount numeric     NOT NULL,
  at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX spending_day ON kraken_proxy.spending (client, quote, at);
CREATE INDEX spending_at ON kraken_proxy.spending (at);

-- What operators, or the twin alarm, have stopped: an account's calls, a client's, or, with neither, everybody's.
CREATE TABLE kraken_proxy.hold (
  id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  mode    text        NOT NULL CHECK (mode IN ('pause', 'cancel-only', 'freeze')),
  account text,
  client  text,
  since   timestamptz NOT NULL,
  who     text        NOT NULL,
  why     text        NOT NULL
);

-- The proxies that run: each says so once a second.
CREATE TABLE kraken_proxy.node (
  run        text        PRIMARY KEY,
  host       text        NOT NULL,
  version    text        NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

INSERT INTO kraken_proxy.migration (version, name) VALUES (1, 'shared_state');

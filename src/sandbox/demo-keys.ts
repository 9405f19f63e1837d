import type { SandboxKey } from './request-checks.js';

/**
 * The keys of the config in the repo. They open nothing: no exchange knows them, and their secrets are
 * the base64 of "sandbox master secret, opens nothing; …", cut off at the 64 bytes of a real one.
 */
export const DEMO_KEYS: readonly SandboxKey[] = [
  {
    account: 'master',
    key: 'sandbox-master-key',
    secret: 'c2FuZGJveCBtYXN0ZXIgc2VjcmV0LCBvcGVucyBub3RoaW5nOyBzYW5kYm94IG1hc3RlciBzZWNyZXQsIG9wZQ==',
  },
  {
    account: 'alice',
    key: 'sandbox-alice-key',
    secret: 'c2FuZGJveCBhbGljZSBzZWNyZXQsIG9wZW5zIG5vdGhpbmc7IHNhbmRib3ggYWxpY2Ugc2VjcmV0LCBvcGVucw==',
  },
];

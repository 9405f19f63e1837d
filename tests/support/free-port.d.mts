/** See free-port.mjs: a port that nobody else gets, on an address of this machine (127.0.0.1). */
export function freePort(host?: string): Promise<number>;

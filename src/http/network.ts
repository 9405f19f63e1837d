/** What one caller has: an IPv4 address, written as such also on a socket of `::`, or the /64 of an IPv6 address. */
export function networkOf(address: string | undefined): string {
  const bare = (address ?? 'unknown').replace(/^::ffff:(?=\d+\.)/i, '');
  return bare.includes(':') ? prefixOf(bare) : bare;
}

/** The first four groups; `::` stands for as many groups of zero as are missing. */
function prefixOf(address: string): string {
  const [head = '', tail = ''] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  const rest = tail === '' ? [] : tail.split(':');
  const missing = address.includes('::')
    ? Array<string>(Math.max(0, 8 - groups.length - rest.length)).fill('0')
    : [];
  return [...groups, ...missing, ...rest].slice(0, 4).join(':');
}
